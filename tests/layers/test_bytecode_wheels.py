"""Byte code of real wheels: imports find it for every module, and leave nothing behind."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from envbuild.layers.bytecode import Compiler, compile_entries, find_sources
from envbuild.layers.order import plan_entries
from envbuild.layers.wheel import read_wheel
from envbuild.layers.write import write_layer
from tests.layers.downloads import download_wheels
from tests.layers.wheels import describe

pytestmark = pytest.mark.network

_VERSION = platform.python_version()
_MINOR = ".".join(_VERSION.split(".")[:2])
_WHEELS = ("numpy", "jinja2", "markupsafe", "rich", "pygments", "markdown-it-py", "mdurl",
           "sqlalchemy", "typing-extensions", "six", "pyyaml")  # fmt: skip
_IMPORTS = "numpy, numpy.testing, jinja2, rich.console, rich.markdown, sqlalchemy.orm, six, yaml"


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return download_wheels(tmp_path_factory, "wheels-of-bytecode", _WHEELS)


def _build(wheels: tuple[Path, ...], prefix: Path, packs: Path) -> tuple[int, int]:
    """Unpack a layer of the wheels and their byte code; return how many sources and codes."""
    groups, sources, made = [], 0, 0
    with Compiler([sys.executable], version=_VERSION) as compiler:
        for wheel in wheels:
            entries = read_wheel(
                wheel, describe(wheel), prefix=str(prefix), python_minor=_MINOR
            )  # fmt: skip
            code = compile_entries(entries, compiler, pack=packs / wheel.name)
            sources += len(find_sources(entries, python_minor=_MINOR))
            made += len(code)
            groups += [entries, code]
    blob = packs / "layer.tar.gz"
    with blob.open("wb") as out:
        write_layer(plan_entries(groups), out.write, compression="gzip")
    with tarfile.open(blob) as tar:
        tar.extractall("/", filter="tar")
    return sources, made


def test_every_module_is_imported_from_its_byte_code(
    wheels: tuple[Path, ...], tmp_path: Path
) -> None:
    prefix, packs = tmp_path / "env", tmp_path / "packs"
    packs.mkdir()
    sources, made = _build(wheels, prefix, packs)
    assert len(wheels) == len(_WHEELS)
    assert made == sources > 1000
    site = prefix / f"lib/python{_MINOR}/site-packages"
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*")}
    ended = subprocess.run(
        [sys.executable, "-v", "-S", "-c", f"import {_IMPORTS}"],
        env={"PYTHONPATH": str(site)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.findall(r"^# code object from '?([^'\n]*)'?$", ended.stderr, re.MULTILINE)
    ours = [path for path in found if path.startswith(str(site))]
    assert len(ours) > 300
    assert [path for path in ours if not path.endswith(".pyc")] == []
    assert [s for s in ended.stderr.splitlines() if "# wrote" in s and str(site) in s] == []
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*")} == before
    # Tracebacks and debuggers find the source without being told.
    ask = "import rich.console as c; print(c.Console.print.__code__.co_filename)"
    asked = subprocess.run(
        [sys.executable, "-S", "-c", ask],
        env={"PYTHONPATH": str(site)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert asked.stdout.strip() == str(site / "rich/console.py")


def test_any_order_of_wheels_makes_the_same_packs(wheels: tuple[Path, ...], tmp_path: Path) -> None:
    some = [wheel for wheel in wheels if not wheel.name.startswith(("numpy", "sqlalchemy"))]
    packs = []
    for name, order in (("a", 1), ("b", -1)):
        folder = tmp_path / name
        folder.mkdir()
        _build(tuple(some[::order]), tmp_path / "env", folder)
        packs.append({p.name: p.read_bytes() for p in folder.glob("*.whl")})
    assert packs[0] == packs[1]
    assert len(packs[0]) == len(some)
