"""Source trees of the repository: their needs are locked, they themselves are what they are now."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from envbuild.errors import LockError
from envbuild.lock.model import PlatformLock
from envbuild.lock.pip import PipSolution
from envbuild.lock.provenance import Shop
from envbuild.lock.source_fresh import find_moved
from envbuild.lock.source_tree import build_trees
from envbuild.spec.model import EnvSpec, Pip
from tests.lock.test_source_sdist import lock_of
from tests.rig.locks import make_lock
from tests.rig.pip_bench import FOREIGN, MINOR, TAG, Bench, Heard, find_host
from tests.rig.sources import make_repository, project_files, write_files

TREE = "src/acme"


def put(bench: Bench, version: str = "1.0", **options: object) -> Path:
    return write_files(bench.root / TREE, project_files("acme", version, **options))  # type: ignore[arg-type]


def build(
    bench: Bench, solution: PipSolution, *, editable: bool = False, **fields: str
) -> tuple[str, Path]:
    lock = lock_of(solution)
    lock = PlatformLock(
        platform=fields.get("platform", lock.platform), python=lock.python, glibc=lock.glibc,
        trees=lock.trees, build=lock.build,
    )  # fmt: skip
    shop = Shop(
        spec=EnvSpec(python=f"{MINOR}.*", pip=Pip(index_url=bench.index.url)), minor=MINOR,
        cache=bench.cache, progress=Heard(), task="cpu",
    )  # fmt: skip
    ((wheel, path),) = build_trees(lock, root=bench.root, shop=shop, editable=editable)
    return wheel.sha256, path


def test_its_needs_are_locked_and_it_is_not(pip_bench: Bench) -> None:
    put(pip_bench, requires=["lib"], extras={"plots": ["plots-kit"]}, build=["kit"])
    for name in ("lib", "plots-kit", "kit"):
        pip_bench.index.add(name, "1.0")
    pip_bench.index.add("acme", "9.0")
    pip_bench.index.add("app", "1.0", "acme>=0.1")
    solution = pip_bench.resolve("app", local=(f"{TREE}[plots]",))
    assert [w.name for w in solution.wheels] == ["app", "lib", "plots-kit"]
    (tree,) = solution.trees
    assert (tree.name, tree.path) == ("acme", TREE)
    assert tree.requires == "kit-1.0-py3-none-any.whl"
    assert "# acme==1.0 is the source tree `src/acme`" in solution.text.decode()


def test_an_edit_makes_another_wheel_and_nothing_new_makes_none(pip_bench: Bench) -> None:
    folder = put(pip_bench)
    solution = pip_bench.resolve(local=(TREE,))
    first, _ = build(pip_bench, solution)
    stamp = {p: p.stat().st_mtime_ns for p in pip_bench.cache.root.rglob("*") if p.is_file()}
    assert build(pip_bench, solution)[0] == first
    again = {p: p.stat().st_mtime_ns for p in pip_bench.cache.root.rglob("*") if p.is_file()}
    assert {p: t for p, t in again.items() if not p.name.endswith(".lock")} == {
        p: t for p, t in stamp.items() if not p.name.endswith(".lock")
    }
    (folder / "src/acme/new.py").write_text("X = 1\n")
    second, path = build(pip_bench, solution)
    assert second != first
    assert "acme/new.py" in zipfile.ZipFile(path).namelist()
    (folder / "src/acme/new.py").unlink()
    assert build(pip_bench, solution)[0] == first


def test_what_git_ignores_does_not_count(pip_bench: Bench) -> None:
    make_repository(pip_bench.root, {".gitignore": "*.log\n"})
    folder = put(pip_bench)
    solution = pip_bench.resolve(local=(TREE,))
    first, _ = build(pip_bench, solution)
    (folder / "src/acme/big.log").write_text("noise")
    assert build(pip_bench, solution)[0] == first


def test_the_tree_is_left_as_it_is(pip_bench: Bench) -> None:
    folder = put(pip_bench, files={"hook.py": "open('litter.txt', 'w').close()\n"})
    before = sorted(p.name for p in folder.rglob("*"))
    pip_bench.resolve(local=(TREE,))
    assert sorted(p.name for p in folder.rglob("*")) == before


def test_a_tree_that_needs_something_else_is_stale(pip_bench: Bench) -> None:
    put(pip_bench)
    solution = pip_bench.resolve(local=(TREE,))
    lock = make_lock(platforms={"linux-64": lock_of(solution)})
    assert find_moved(lock, pip_bench.root) == ()
    put(pip_bench, version="1.1")
    assert find_moved(lock, pip_bench.root) == ()
    build(pip_bench, solution)
    put(pip_bench, requires=["lib"])
    assert find_moved(lock, pip_bench.root) == (TREE,)
    with pytest.raises(LockError) as failure:
        build(pip_bench, solution)
    assert failure.value.code == "lock.stale"
    assert TREE in failure.value.message


def test_an_editable_one_follows_every_edit(pip_bench: Bench, tmp_path: Path) -> None:
    folder = put(pip_bench)
    solution = pip_bench.resolve(local=(TREE,))
    first, path = build(pip_bench, solution, editable=True)
    place = tmp_path / "site"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(place)
    (folder / "src/acme/__init__.py").write_text("V = 'edited'\n")
    assert build(pip_bench, solution, editable=True)[0] == first
    code = f"import site; site.addsitedir({str(place)!r}); import acme; print(acme.V)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "edited"


def test_a_tree_that_is_not_there_is_named(pip_bench: Bench) -> None:
    with pytest.raises(LockError) as failure:
        pip_bench.resolve(local=("src/none",))
    assert failure.value.code == "pip.no-tree"
    (pip_bench.root / "src/none").mkdir(parents=True)
    with pytest.raises(LockError) as failure:
        pip_bench.resolve(local=("src/none",))
    assert failure.value.code == "pip.no-project"


def test_one_for_this_machine_alone_is_refused_for_another(pip_bench: Bench) -> None:
    put(pip_bench, files={"tag.txt": f"{TAG}-{TAG}-linux_{find_host().machine}"})
    solution = pip_bench.resolve(local=(TREE,))
    with pytest.raises(LockError) as failure:
        build(pip_bench, solution, platform=FOREIGN.subdir)
    assert failure.value.code == "pip.source-foreign"
