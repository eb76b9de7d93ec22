"""Real build backends and a real compiler, from the index that this machine's pip is set up for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from envbuild.errors import LockError
from envbuild.kit.places import Cache
from envbuild.lock.provenance import Provenance, Shop
from envbuild.lock.source_again import get_wheels
from envbuild.lock.source_tree import build_trees
from envbuild.spec.model import EnvSpec, Pip
from tests.lock.test_pip_network import _is_there
from tests.lock.test_source_sdist import lock_of
from tests.rig.need import missing
from tests.rig.pip_bench import FOREIGN, MINOR, Bench, Heard, find_glibc, find_host
from tests.rig.pip_index import PipIndex
from tests.rig.sources import write_files

pytestmark = pytest.mark.network

_SOURCE = {"src/acme/__init__.py": '"""Acme."""\n\n__version__ = "1.0"\n'}

SETUPTOOLS = {
    "pyproject.toml": (
        '[build-system]\nrequires = ["setuptools>=70"]\nbuild-backend = "setuptools.build_meta"\n\n'
        '[project]\nname = "acme"\nversion = "1.0"\ndependencies = ["six"]\n'
    ),
    **_SOURCE,
}
LEGACY = {
    "setup.py": (
        "from setuptools import find_packages, setup\n\nsetup(name='acme', version='1.0', "
        "package_dir={'': 'src'}, packages=find_packages('src'), install_requires=['six'])\n"
    ),
    **_SOURCE,
}
HATCHLING = {
    "pyproject.toml": (
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
        '[project]\nname = "acme"\nversion = "1.0"\ndependencies = ["six"]\n\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["src/acme"]\n'
    ),
    **_SOURCE,
}
FLIT = {
    "pyproject.toml": (
        '[build-system]\nrequires = ["flit_core>=3.4,<4"]\nbuild-backend = "flit_core.buildapi"\n\n'
        '[project]\nname = "acme"\ndynamic = ["version", "description"]\ndependencies = ["six"]\n'
    ),
    **_SOURCE,
}
NATIVE = {
    "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\n',
    "setup.py": (
        "from setuptools import Extension, setup\n\nsetup(name='native', version='1.0', "
        "ext_modules=[Extension('native', ['native.c'])])\n"
    ),
    "native.c": (
        "#include <Python.h>\n"
        "static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, \"native\"};\n"
        "PyMODINIT_FUNC PyInit_native(void) { return PyModule_Create(&module); }\n"
    ),
}  # fmt: skip

BACKENDS = {"setuptools": SETUPTOOLS, "setup.py": LEGACY, "hatchling": HATCHLING, "flit": FLIT}


@pytest.fixture
def bench(pip_index: PipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench that has the machine's own indexes as well; so are the tools' caches."""
    if not _is_there():
        missing("a Python package index", "configure one: `pip config set global.index-url URL`")
    monkeypatch.delenv("UV_CACHE_DIR")
    monkeypatch.delenv("PIP_CACHE_DIR")
    return Bench(index=pip_index, root=tmp_path / "bench")


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_every_backend_builds_to_the_same_bytes_twice(
    bench: Bench, tmp_path: Path, backend: str
) -> None:
    write_files(bench.root / "tree", BACKENDS[backend])
    solution = bench.resolve(local=("tree",), index_url=None)
    assert [w.name for w in solution.wheels] == ["six"]
    lock = lock_of(solution)
    spec = EnvSpec(python=f"{MINOR}.*")
    wheels = []
    for umask, name in ((0o022, "one"), (0o077, "two")):
        before = os.umask(umask)
        try:
            shop = Shop(
                spec=spec, minor=MINOR, cache=Cache(root=tmp_path / name), progress=Heard(),
                task="cpu",
            )  # fmt: skip
            wheels.append(build_trees(lock, root=bench.root, shop=shop))
        finally:
            os.umask(before)
    assert [wheel for wheel, _ in wheels[0]] == [wheel for wheel, _ in wheels[1]]
    ((wheel, path),) = wheels[0]
    assert wheel.filename.startswith("acme-1.0-")
    assert wheel.filename.endswith("-none-any.whl")
    assert "acme/__init__.py" in zipfile.ZipFile(path).namelist()
    place = tmp_path / "prefix"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", str(place), str(path)], check=True, capture_output=True)
    run = [sys.executable, "-c", "import acme; print(acme.__version__)"]
    done = subprocess.run(
        run, env={**os.environ, "PYTHONPATH": str(place)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout == "1.0\n"


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_every_backend_is_editable(bench: Bench, tmp_path: Path, backend: str) -> None:
    folder = write_files(bench.root / "tree", BACKENDS[backend])
    lock = lock_of(bench.resolve(local=("tree",), index_url=None))
    shop = Shop(
        spec=EnvSpec(python=f"{MINOR}.*"), minor=MINOR, cache=bench.cache, progress=Heard(),
        task="cpu",
    )  # fmt: skip
    ((_, path),) = build_trees(lock, root=bench.root, shop=shop, editable=True)
    place = tmp_path / "site"
    zipfile.ZipFile(path).extractall(place)
    (folder / "src/acme/__init__.py").write_text('"""Acme."""\n\n__version__ = "edited"\n')
    code = f"import site; site.addsitedir({str(place)!r}); import acme; print(acme.__version__)"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "edited\n"


def test_a_c_extension_serves_this_platform_alone(bench: Bench, tmp_path: Path) -> None:
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        missing("a C compiler", "install the package `gcc`")
    bench.index.add_sdist("native", "1.0", NATIVE)
    glibc = f"2.{find_glibc()}"
    extra = (bench.index.url,)
    options = {"build": ("native",), "index_url": None, "extra": extra, "glibc": glibc}
    solution = bench.resolve("native", **options)  # type: ignore[arg-type]
    (wheel,) = solution.wheels
    assert wheel.filename.endswith(f"-linux_{find_host().machine}.whl")
    lock = lock_of(solution)
    other = Cache(root=tmp_path / "other")
    found = get_wheels(
        lock.wheels,
        Provenance(root=bench.root, lock=lock),
        shop=Shop(
            spec=EnvSpec(python=f"{MINOR}.*", pip=Pip(extra_index_urls=extra)),
            minor=MINOR,
            cache=other,
            progress=Heard(),
            task="cpu",
        ),
        platform=find_host(),
    )
    place = tmp_path / "site"
    zipfile.ZipFile(found[wheel.sha256]).extractall(place)
    run = [sys.executable, "-c", "import native"]
    subprocess.run(run, check=True, env={**os.environ, "PYTHONPATH": str(place)})
    with pytest.raises(LockError) as failure:
        bench.resolve("native", platform=FOREIGN, **options)  # type: ignore[arg-type]
    assert failure.value.code == "pip.source-foreign"
    with pytest.raises(LockError) as failure:
        get_wheels(
            lock.wheels,
            Provenance(root=bench.root, lock=lock),
            shop=Shop(
                spec=EnvSpec(python=f"{MINOR}.*", pip=Pip(extra_index_urls=extra)),
                minor=MINOR,
                cache=Cache(root=tmp_path / "foreign"),
                progress=Heard(),
                task="cpu",
            ),
            platform=FOREIGN,
        )
    assert failure.value.code == "pip.source-foreign"
    assert "--push" in str(failure.value.hint)
