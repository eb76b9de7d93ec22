"""The promises of `ensure_interpreter`: a Python of exactly one version that runs here."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from envbuild.errors import ImageError, LockError
from envbuild.image import interpreter
from envbuild.image.interpreter import ensure_interpreter
from envbuild.kit.places import Cache
from envbuild.kit.progress import Silent
from envbuild.layers.bytecode import Compiler, compile_entries
from envbuild.layers.deb import read_deb
from envbuild.layers.order import plan_entries
from envbuild.lock.debian import fetch_debian
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage
from envbuild.spec.platforms import find_host_platform
from envbuild.spec.settings import Settings
from tests.layers.condas import describe_conda
from tests.rig.conda_channel import CondaChannel
from tests.rig.conda_package import write_package
from tests.rig.conda_python import make_python_stub
from tests.rig.debian_archive import resolve_real
from tests.rig.need import missing

_VERSION = platform.python_version()
_MINOR = ".".join(_VERSION.split(".")[:2])
_SOURCE = b"import os\ndef f(a=(1, 'two')): return {a, 3}\n"


class _Shop:
    """Where artifacts come from: `files` by SHA-256, or Debian's archive; notes what is asked."""

    def __init__(self, cache: Cache, files: Mapping[str, Path] | None = None) -> None:
        self.asked: list[str] = []
        self._cache = cache
        self._files = files

    def fetch(self, artifacts: tuple[Artifact, ...]) -> Mapping[str, Path]:
        self.asked += [artifact.name for artifact in artifacts]
        return {artifact.sha256: self._find(artifact) for artifact in artifacts}

    def _find(self, artifact: Artifact) -> Path:
        if self._files is not None:
            return self._files[artifact.sha256]
        assert isinstance(artifact, DebianPackage)
        return fetch_debian(artifact, suite="bookworm", settings=Settings(), cache=self._cache)


def _ensure(
    version: str, shop: _Shop, cache: Cache, artifacts: tuple[Artifact, ...] = ()
) -> tuple[str, ...]:
    return ensure_interpreter(
        version, artifacts=artifacts, fetch=shop.fetch, cache=cache, progress=Silent(), task="t"
    )


def _compile(argv: tuple[str, ...], version: str) -> bytes:
    with Compiler(argv, version=version) as compiler:
        made = compiler.compile("/opt/a.py", _SOURCE)
    assert made is not None
    return made


def _list(cache: Cache) -> list[str]:
    return sorted(p.name for p in cache.interpreters.iterdir() if p.name != "known.json")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any Python; returns the only folder on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "_base_executable", "/no/such/python")
    return folder


# One that is installed


def test_the_python_that_runs_us_will_do(cache: Cache) -> None:
    argv = _ensure(_VERSION, _Shop(cache), cache)
    assert len(argv) == 1
    asked = subprocess.run([*argv, "-V"], capture_output=True, text=True, check=True)
    assert asked.stdout.split() == ["Python", _VERSION]
    assert _compile(argv, _VERSION) == _compile((sys.executable,), _VERSION)


@pytest.mark.parametrize("place", ["path", "pyenv", "uv"])
def test_pythons_are_found_where_tools_put_them(
    place: str, bare: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = {
        "path": bare / f"python{_MINOR}",
        "pyenv": tmp_path / f"none/versions/{_VERSION}/bin/python{_MINOR}",
        "uv": tmp_path / f"none/cpython-{_VERSION}-linux-x86_64-gnu/bin/python{_MINOR}",
    }[place]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    target.chmod(0o755)
    assert _ensure(_VERSION, _Shop(cache), cache) == (str(target),)


def test_an_interpreter_is_asked_once_and_again_when_it_changes(
    bare: Path, cache: Cache, tmp_path: Path
) -> None:
    log, python = tmp_path / "log", bare / f"python{_MINOR}"
    log.touch()
    for number in (1, 2):
        text = f'#!/bin/sh\necho {number} >> {log}\nexec {sys.executable} "$@"\n'
        python.write_text(text + "#" * number)
        python.chmod(0o755)
        for _ in range(3):
            assert _ensure(_VERSION, _Shop(cache), cache) == (str(python),)
        with pytest.raises(ImageError, match="this machine has none"):
            _ensure("3.11.999", _Shop(cache), cache)
    assert log.read_text().split() == ["1", "2"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"%s": 1}', '{"%s": [[1, 2], [3]]}'])
def test_damaged_notes_are_made_again(text: str, cache: Cache) -> None:
    cache.interpreters.mkdir(parents=True)
    notes = cache.interpreters / "known.json"
    wanted = _ensure(_VERSION, _Shop(cache), cache)
    real = next(iter(json.loads(notes.read_text())))
    notes.write_text(text.replace("%s", real))
    assert _ensure(_VERSION, _Shop(cache), cache) == wanted


def test_without_any_the_error_says_what_to_do(bare: Path, cache: Cache) -> None:
    (bare / "python3").write_text("#!/bin/sh\necho Python 3.11.2\n")
    (bare / "python3").chmod(0o755)
    with pytest.raises(ImageError, match=r"3\.11\.2") as caught:
        _ensure("3.11.2", _Shop(cache), cache)
    assert caught.value.code == "bytecode.no-python"
    for way in ("uv python install 3.11.2", "`platforms`", "`bytecode = false`"):
        assert way in str(caught.value.hint)


# The one that is locked


@pytest.fixture
def debian(cache: Cache) -> tuple[DebianPackage, ...]:
    """Bookworm's real python3.11 and all that it needs."""
    host = find_host_platform()
    if host is None or not host.debian:
        missing("a machine that Debian runs on", "run this test on Linux, amd64 or arm64")
    return resolve_real(["python3.11"], host.debian, cache)


def _version_of(packages: tuple[DebianPackage, ...]) -> str:
    (found,) = (p for p in packages if p.name == "python3.11-minimal")
    return found.version.partition("-")[0]


@pytest.mark.network
def test_debians_python_runs_without_being_installed(
    debian: tuple[DebianPackage, ...], bare: Path, cache: Cache
) -> None:
    version, shop = _version_of(debian), _Shop(cache)
    argv = _ensure(version, shop, cache, debian)
    assert all(part.startswith(("--", str(cache.root))) for part in argv)
    # Only what it needs is fetched, and that once.
    assert {"python3.11-minimal", "libpython3.11-stdlib", "libc6"} <= set(shop.asked)
    assert not {"libsqlite3-0", "libreadline8"} & set(shop.asked)
    assert len(shop.asked) == len(set(shop.asked)) < len(debian) / 2
    idle = _Shop(cache, {})
    assert _ensure(version, idle, cache, debian) == argv
    assert idle.asked == []
    assert len(_list(cache)) == 1
    # It has nothing of this machine's libraries in it, not even the C library.
    ask = "print(*{s.split()[-1] for s in open('/proc/self/maps') if '/' in s}, sep='\\n')"
    asked = subprocess.run([*argv, "-S", "-c", ask], capture_output=True, text=True, check=True)
    files = asked.stdout.split()
    assert any(re.search(r"/libc\.so", file) for file in files)
    assert [f for f in files if ".so" in f and not f.startswith(str(cache.root))] == []


@pytest.mark.network
def test_two_builds_of_a_version_make_the_same_byte_code(
    debian: tuple[DebianPackage, ...], cache: Cache
) -> None:
    """Debian's from the lock, and whatever build of the same version is installed here."""
    version = _version_of(debian)
    try:
        installed = _ensure(version, _Shop(cache), cache)
    except ImageError:
        missing(f"another Python {version}", "run this test on Debian bookworm with python3.11")
    locked = _ensure(version, _Shop(cache), cache, debian)
    assert installed != locked
    folder = Path("/usr/lib/python3.11")
    paths = [p for p in sorted(folder.rglob("*.py")) if p.stat().st_size < 40_000][::4]
    made = []
    for argv in (installed, locked):
        with Compiler(argv, version=version) as compiler:
            files = ((str(path), path.read_bytes()) for path in paths)
            made.append(list(compiler.compile_many(files)))
    assert made[0] == made[1]
    assert len(made[0]) > 50


@pytest.mark.network
def test_debians_library_is_imported_from_its_byte_code(
    debian: tuple[DebianPackage, ...], bare: Path, cache: Cache, tmp_path: Path
) -> None:
    version, shop = _version_of(debian), _Shop(cache)
    argv = _ensure(version, shop, cache, debian)
    root = cache.interpreters / _list(cache)[0]
    assert not list(root.rglob("*.pyc"))
    with Compiler(argv, version=version) as compiler:
        groups = []
        for package in debian:
            if re.search(r"libpython3\.11-(?:minimal|stdlib)", package.name):
                entries = read_deb(shop.fetch((package,))[package.sha256], package)
                pack = tmp_path / package.name
                groups.append(compile_entries(entries, compiler, pack=pack))
    made = [entry for entry in plan_entries(groups) if entry.kind == "file"]
    assert len(made) > 500
    for entry in made:
        target = root / entry.path
        target.parent.mkdir(exist_ok=True)
        assert entry.body is not None
        target.write_bytes(b"".join(entry.body().data))
    before = sorted(root.rglob("*.pyc"))
    ask = "import json, http, email.message, argparse, dataclasses; print(json.__cached__)"
    asked = subprocess.run(
        [*argv, "-v", "-S", "-c", ask], capture_output=True, text=True, check=True
    )
    assert asked.stdout.strip() == str(
        root / "usr/lib/python3.11/json/__pycache__/__init__.cpython-311.pyc"
    )
    loaded = re.findall(r"^# code object from '?([^'\n]*?)'?$", asked.stderr, re.MULTILINE)
    assert len(loaded) > 40
    assert [path for path in loaded if not path.endswith(".pyc")] == []
    assert "# wrote" not in asked.stderr
    assert sorted(root.rglob("*.pyc")) == before


@pytest.fixture
def conda(conda_channel: CondaChannel) -> dict[CondaPackage, Path]:
    """A real Python in a conda package."""
    (archive,) = (conda_channel.folder / "linux-64").glob(f"python-{_VERSION}-*")
    return {describe_conda(archive): archive}


def test_condas_python_runs_from_the_cache(
    conda: dict[CondaPackage, Path], bare: Path, cache: Cache
) -> None:
    shop = _Shop(cache, {package.sha256: file for package, file in conda.items()})
    argv = _ensure(_VERSION, shop, cache, tuple(conda))
    assert argv == (str(cache.interpreters / _list(cache)[0] / f"bin/python{_MINOR}"),)
    ask = "import sys, json; print(sys.prefix, json.__file__)"
    asked = subprocess.run([*argv, "-I", "-c", ask], capture_output=True, text=True, check=True)
    assert all(place.startswith(str(cache.interpreters)) for place in asked.stdout.split())
    assert _compile(argv, _VERSION) == _compile((sys.executable,), _VERSION)
    idle = _Shop(cache, {})
    assert _ensure(_VERSION, idle, cache, tuple(conda)) == argv


def test_a_locked_python_that_does_not_run_here_is_passed_over(
    cache: Cache, tmp_path: Path
) -> None:
    archive = write_package(make_python_stub("linux-64"), tmp_path)
    package = describe_conda(archive)
    shop = _Shop(cache, {package.sha256: archive})
    argv = _ensure(_VERSION, shop, cache, (package,))
    assert str(cache.root) not in argv[0]
    assert shop.asked == ["python"]
    assert _list(cache) == []


def test_a_python_of_another_version_is_not_even_fetched(
    bare: Path, conda: dict[CondaPackage, Path], cache: Cache
) -> None:
    deb = DebianPackage(
        name="python3.11-minimal", version="3.11.21-6", architecture="amd64", path="p/a.deb",
        sha256="0" * 64, size=1,
    )  # fmt: skip
    shop = _Shop(cache, {})
    with pytest.raises(ImageError, match=r"3\.11\.2`? can"):
        _ensure("3.11.2", shop, cache, (deb, *conda))
    assert shop.asked == []


class _Empty(_Shop):
    def fetch(self, artifacts: tuple[Artifact, ...]) -> Mapping[str, Path]:
        raise LockError("fetch.gone", "it is gone")


def test_without_the_locked_one_an_installed_one_will_do(
    conda: dict[CondaPackage, Path], cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = _ensure(_VERSION, _Empty(cache), cache, tuple(conda))
    assert os.access(argv[0], os.X_OK)
    monkeypatch.setattr(interpreter, "_list_candidates", lambda version: iter(()))
    with pytest.raises(LockError, match="it is gone"):
        _ensure(_VERSION, _Empty(cache), cache, tuple(conda))
