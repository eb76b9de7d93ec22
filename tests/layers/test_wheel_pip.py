"""The promise of `read_wheel`, on real wheels: the files that pip installs, bit for bit.

What differs, and is compared by meaning: RECORD (sorted, plain line ends), INSTALLER (who
installed), and the text of commands, which differs from one version of pip to the next.
"""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuild.layers.entry import Entry
from envbuild.layers.order import plan_entries
from envbuild.layers.wheel import read_wheel
from envbuild.layers.write import write_layer
from tests.layers.downloads import download_wheels
from tests.layers.wheels import describe

pytestmark = pytest.mark.network

# Compiled and pure, with data files, scripts, namespace packages, vendored trees, headers.
_WHEELS = (
    "attrs", "certifi", "charset-normalizer", "click", "cryptography",
    "flask", "fonttools", "google-auth", "googleapis-common-protos", "greenlet", "jinja2",
    "jsonschema", "jupyter-core", "kiwisolver", "markupsafe", "numpy", "packaging", "pip",
    "protobuf", "psutil", "pybind11", "pygments", "pytest", "pywavelets", "pyyaml", "requests",
    "rich", "ruff==0.6.9", "scikit-learn", "setuptools", "six", "sqlalchemy", "threadpoolctl",
    "tqdm", "typing-extensions", "tzdata", "uvicorn", "wheel", "widgetsnbextension",
)  # fmt: skip
_TOLD = re.compile(r"site-packages/[^/]*\.dist-info/(?:REQUESTED|direct_url\.json)$")
"""What pip tells of this one installation, and we don't."""

_MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return download_wheels(tmp_path_factory, "wheels-of-layers", _WHEELS)


def _install(wheels: tuple[Path, ...], base: Path) -> Path:
    """Let pip install all wheels into a virtual environment, and return that."""
    home = base / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    command = [sys.executable, "-m", "pip", "--python", str(home), "install", "--quiet"]
    command += ["--no-compile", "--no-deps", "--no-index", "--no-warn-script-location"]
    command += ["--root", str(base / "theirs"), *map(str, wheels)]
    subprocess.run(command, check=True, env={"PATH": "/usr/bin:/bin", "HOME": str(base)})
    return home


def _unpack(wheels: tuple[Path, ...], prefix: str, target: Path) -> dict[str, Entry]:
    """Write the wheels' layer, let GNU tar unpack it, and return its entries by path."""
    groups = [
        read_wheel(wheel, describe(wheel), prefix=prefix, python_minor=_MINOR) for wheel in wheels
    ]
    entries = plan_entries(groups)
    blob = target / "layer.tar.gz"
    with blob.open("wb") as out:
        write_layer(entries, out.write, compression="gzip")
    (target / "ours").mkdir()
    command = ["tar", "--extract", "--gzip", "--same-permissions", "--file", str(blob)]
    subprocess.run([*command, "--directory", str(target / "ours")], check=True)
    return {entry.path: entry for entry in entries if entry.kind != "directory"}


def _walk(root: Path) -> Iterator[str]:
    for path in root.rglob("*"):
        if not path.is_dir() or path.is_symlink():
            yield path.relative_to(root).as_posix()


def test_enough_wheels_are_compared(wheels: tuple[Path, ...]) -> None:
    assert len(wheels) == len(_WHEELS) >= 25


def test_the_layer_is_what_pip_installs(wheels: tuple[Path, ...], tmp_path: Path) -> None:
    prefix = str(_install(wheels, tmp_path))
    entries = _unpack(wheels, prefix, tmp_path)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    expected = {path for path in _walk(theirs) if not _TOLD.search(path)}
    assert set(entries) == expected
    assert set(_walk(ours)) == expected
    for path in sorted(expected):
        _compare(path, ours / path, theirs / path, prefix)


def _compare(path: str, ours: Path, theirs: Path, prefix: str) -> None:
    assert ours.stat().st_mode == theirs.stat().st_mode, path
    mine, other = ours.read_bytes(), theirs.read_bytes()
    if mine == other:
        return
    if path.endswith(".dist-info/INSTALLER"):
        assert (mine, other) == (b"envbuild\n", b"pip\n")
    elif path.endswith(".dist-info/RECORD"):
        assert _rows(mine) == _rows(other)
    else:
        assert f"{prefix[1:]}/bin/" in path, path
        assert _meaning(mine.decode()) == _meaning(other.decode()), path


def _rows(record: bytes) -> list[list[str]]:
    """Return what both say: pip notes its own files, and hashes of commands and INSTALLER."""
    rows = [row for row in csv.reader(io.StringIO(record.decode())) if row]
    kept = []
    for path, digest, size in rows:
        if _TOLD.search(f"site-packages/{path}"):
            continue
        generated = path.endswith(".dist-info/INSTALLER") or "../bin/" in path
        kept.append([path, "", ""] if generated else [path, digest, size])
    return sorted(kept)


def _meaning(script: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return a command's interpreter, what it imports, and what it calls."""
    interpreter = re.sub(r"/bin/python[\d.]*$", "/bin/python", script.partition("\n")[0])
    return (
        interpreter,
        tuple(re.findall(r"^\s*from .* import .*$", script, re.MULTILINE)),
        tuple(re.findall(r"sys\.exit\(.*\)", script)),
    )
