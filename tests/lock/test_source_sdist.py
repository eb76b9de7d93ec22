"""Source distributions: built only where that is allowed, once, without network, to equal bytes."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from envbuild.errors import LockError
from envbuild.kit.places import Cache
from envbuild.lock.model import PlatformLock
from envbuild.lock.pip import PipSolution
from envbuild.lock.provenance import Provenance, Shop
from envbuild.lock.source_again import get_wheels
from envbuild.lock.upgrade import Upgrade
from envbuild.spec.model import EnvSpec, Pip
from tests.rig.pip_bench import FOREIGN, MINOR, TAG, Bench, Heard, find_host
from tests.rig.pip_index import IndexFile
from tests.rig.sources import project_files

RESOLVERS = pytest.mark.parametrize("resolver", ["pip-tools", "uv"])


def add_source(
    bench: Bench, name: str, version: str = "1.0", *requires: str, **options: object
) -> IndexFile:
    files = project_files(name, version, requires=requires, **options)  # type: ignore[arg-type]
    return bench.index.add_sdist(name, version, files)


def lock_of(solution: PipSolution) -> PlatformLock:
    return PlatformLock(
        platform=find_host().subdir, python=MINOR, glibc="2.17", wheels=solution.wheels,
        sources=solution.sources, trees=solution.trees, build=solution.build,
    )  # fmt: skip


def fetch(bench: Bench, solution: PipSolution, cache: Cache) -> list[Path]:
    lock = lock_of(solution)
    found = get_wheels(
        lock.wheels,
        Provenance(root=bench.root, lock=lock),
        shop=Shop(
            spec=EnvSpec(python=f"{MINOR}.*", pip=Pip(index_url=bench.index.url)),
            minor=MINOR,
            cache=cache,
            progress=Heard(),
            task="cpu",
        ),
        platform=find_host(),
    )
    return [found[wheel.sha256] for wheel in lock.wheels]


def refuse(bench: Bench, *requirements: str, **options: object) -> LockError:
    with pytest.raises(LockError) as failure:
        bench.resolve(*requirements, **options)  # type: ignore[arg-type]
    return failure.value


def test_nothing_is_built_unless_it_is_allowed(pip_bench: Bench) -> None:
    add_source(pip_bench, "acme", files={"hook.py": "raise SystemExit('built')"})
    error = refuse(pip_bench, "acme", build=("other",))
    assert error.code == "lock.no-wheel"
    assert "`build-from-source`" in str(error.hint)
    assert not (pip_bench.cache.root / "built").exists()


@RESOLVERS
def test_what_it_needs_is_locked_with_it(pip_bench: Bench, resolver: str) -> None:
    file = add_source(pip_bench, "acme", "2.0", "lib>=1", build=["kit<2"])
    add_source(pip_bench, "acme", "1.0")
    for version in ("1.0", "1.9", "2.1"):
        pip_bench.index.add("kit", version)
    pip_bench.index.add("lib", "1.0")
    pip_bench.index.add("app", "1.0", "acme")
    solution = pip_bench.resolve("app", build=("Acme",), resolver=resolver)
    assert {w.name: w.version for w in solution.wheels} == {
        "acme": "2.0", "app": "1.0", "lib": "1.0",
    }  # fmt: skip
    (source,) = solution.sources
    assert (source.kind, source.place, source.pin) == ("sdist", file.filename, file.sha256)
    assert source.requires == "kit-1.9-py3-none-any.whl"
    assert [(w.name, w.version) for w in solution.build] == [("kit", "1.9")]
    text = solution.text.decode()
    assert f"# acme==2.0 is built from {file.filename}, sha256:{file.sha256}" in text
    assert "127.0.0.1" not in text


@RESOLVERS
def test_versions_with_a_wheel_are_taken_as_wheels(pip_bench: Bench, resolver: str) -> None:
    add_source(pip_bench, "acme", "2.0", files={"hook.py": "raise SystemExit('built')"})
    pip_bench.index.add("acme", "2.0")
    solution = pip_bench.resolve("acme", build=("acme",), resolver=resolver)
    assert [w.version for w in solution.wheels] == ["2.0"]
    assert solution.sources == ()


@RESOLVERS
def test_an_older_one_is_built_where_the_newest_does_not_fit(
    pip_bench: Bench, resolver: str
) -> None:
    add_source(pip_bench, "acme", "3.0", "lib>=9")
    add_source(pip_bench, "acme", "2.0", "helper")
    add_source(pip_bench, "helper", "1.0")
    pip_bench.index.add("lib", "1.0")
    solution = pip_bench.resolve(
        "acme", "lib<2", build=("acme", "helper"), resolver=resolver
    )  # fmt: skip
    assert {w.name: w.version for w in solution.wheels} == {
        "acme": "2.0", "helper": "1.0", "lib": "1.0",
    }  # fmt: skip


def test_two_builds_give_the_same_bytes(pip_bench: Bench, tmp_path: Path) -> None:
    add_source(pip_bench, "acme", build=["kit"])
    pip_bench.index.add("kit", "1.0")
    solution = pip_bench.resolve("acme", build=("acme",))
    pip_bench.index.add("kit", "2.0")  # published since: must not matter
    (path,) = fetch(pip_bench, solution, Cache(root=tmp_path / "other"))
    assert path.stat().st_size == solution.wheels[0].size
    with zipfile.ZipFile(path) as archive:
        assert archive.read("built_with.py") == b"KIT = '1.0'\n"
        infos = archive.infolist()
        names = [i.filename for i in infos]
        assert names[-1] == "acme-1.0.dist-info/RECORD"
        assert names == sorted(names, key=lambda n: (".dist-info" in n, n.endswith("RECORD"), n))
        assert {i.date_time for i in infos} == {(1980, 1, 1, 0, 0, 0)}
        modes = {i.filename: i.external_attr >> 16 for i in infos}
        assert modes["acme/tool.sh"] == 0o100755
        assert modes["acme/__init__.py"] == 0o100644


def test_what_is_in_the_cache_is_not_built_again(pip_bench: Bench) -> None:
    add_source(pip_bench, "acme")
    solution = pip_bench.resolve("acme", build=("acme",))
    pip_bench.index.files.clear()
    (path,) = fetch(pip_bench, solution, pip_bench.cache)
    assert path.parent.name == solution.wheels[0].sha256


def test_a_build_that_gives_something_else_is_refused(pip_bench: Bench, tmp_path: Path) -> None:
    hook = "import pathlib, time; pathlib.Path('src/stamp.py').write_text(str(time.time_ns()))"
    add_source(pip_bench, "acme", files={"hook.py": hook})
    solution = pip_bench.resolve("acme", build=("acme",))
    with pytest.raises(LockError) as failure:
        fetch(pip_bench, solution, Cache(root=tmp_path / "other"))
    assert failure.value.code == "pip.rebuild-differs"
    assert "--push" in str(failure.value.hint)


def test_a_changed_or_missing_source_is_refused(pip_bench: Bench, tmp_path: Path) -> None:
    file = add_source(pip_bench, "acme")
    solution = pip_bench.resolve("acme", build=("acme",))
    changed = project_files("acme", files={"src/acme/more.py": "X = 1\n"})
    pip_bench.index.add_sdist("acme", "1.0", changed)
    with pytest.raises(LockError) as failure:
        fetch(pip_bench, solution, Cache(root=tmp_path / "one"))
    assert failure.value.code == "pip.source-changed"
    pip_bench.index.remove(replace(file, data=b""))
    with pytest.raises(LockError) as failure:
        fetch(pip_bench, solution, Cache(root=tmp_path / "two"))
    assert failure.value.code == "pip.source-gone"


def test_other_bytes_under_its_name_are_never_built(pip_bench: Bench) -> None:
    file = add_source(pip_bench, "acme")
    pip_bench.index.add_sdist("acme", "1.0", project_files("acme"), served=file.data[:-9])
    assert refuse(pip_bench, "acme", build=("acme",)).code == "pip.source-changed"


def test_a_pure_one_serves_every_platform(pip_bench: Bench) -> None:
    add_source(pip_bench, "acme")
    here = pip_bench.resolve("acme", build=("acme",))
    there = pip_bench.resolve("acme", build=("acme",), platform=FOREIGN)
    assert here.wheels == there.wheels


def test_one_for_this_machine_alone_is_refused_for_another(pip_bench: Bench) -> None:
    tag = f"{TAG}-{TAG}-linux_{find_host().machine}"
    add_source(pip_bench, "acme", files={"tag.txt": tag})
    (wheel,) = pip_bench.resolve("acme", build=("acme",)).wheels
    assert wheel.filename == f"acme-1.0-{tag}.whl"
    error = refuse(pip_bench, "acme", build=("acme",), platform=FOREIGN)
    assert error.code == "pip.source-foreign"
    assert wheel.filename in error.message
    assert FOREIGN.subdir in error.message


def test_a_build_has_no_network_and_no_secrets(
    pip_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_TOKEN", "hunter2")
    hook = (
        "import os, socket\n"
        "assert 'DEPLOY_TOKEN' not in os.environ\n"
        "assert not os.listdir(os.path.expanduser('~'))\n"
        "try:\n"
        f"    socket.create_connection(('127.0.0.1', {pip_bench.index.port}), 5).close()\n"
        "except OSError:\n"
        "    pass\n"
        "else:\n"
        "    raise SystemExit('there is a network')\n"
    )
    add_source(pip_bench, "acme", files={"hook.py": hook})
    from envbuild.lock.build_room import _cut_off

    if not _cut_off():
        pytest.skip("this user may not make name spaces, so builds here have a network")
    assert len(pip_bench.resolve("acme", build=("acme",)).wheels) == 1


def test_a_failed_build_says_why_and_where_all_of_it_is(pip_bench: Bench) -> None:
    hook = "print('configuring')\nraise SystemExit('libfoo is missing')\n"
    add_source(pip_bench, "acme", files={"hook.py": hook})
    error = refuse(pip_bench, "acme", build=("acme",))
    assert error.code == "pip.build-failed"
    assert "libfoo is missing" in error.message
    (log,) = pip_bench.logs.glob("build-acme-*.log")
    assert str(log) in error.message
    assert "configuring" in log.read_text()


def test_build_requirements_that_no_one_has_are_named(pip_bench: Bench) -> None:
    add_source(pip_bench, "acme", build=["kit>=9"])
    pip_bench.index.add("kit", "1.0")
    error = refuse(pip_bench, "acme", build=("acme",))
    assert error.code == "pip.build-requires"
    assert "kit>=9" in error.message


def test_what_the_backend_itself_asks_for_is_locked_too(pip_bench: Bench) -> None:
    add_source(pip_bench, "acme", files={"requires.txt": "kit"})
    pip_bench.index.add("kit", "1.0")
    solution = pip_bench.resolve("acme", build=("acme",))
    assert [w.name for w in solution.build] == ["kit"]


def test_a_new_lock_stays_with_what_is_locked(pip_bench: Bench) -> None:
    add_source(pip_bench, "acme", "1.0", build=["kit"])
    pip_bench.index.add("kit", "1.0")
    first = pip_bench.resolve("acme", build=("acme",))
    add_source(pip_bench, "acme", "2.0", build=["kit"])
    pip_bench.index.add("kit", "2.0")
    pip_bench.index.add("lib", "1.0")
    options = {"build": ("acme",), "old": lock_of(first), "previous": first.text}
    kept = pip_bench.resolve("acme", "lib", **options)  # type: ignore[arg-type]
    assert (kept.sources, kept.build) == (first.sources, first.build)
    upgrade = Upgrade(packages=frozenset({"acme"}))
    moved = pip_bench.resolve("acme", "lib", upgrade=upgrade, **options)  # type: ignore[arg-type]
    assert {w.name: w.version for w in moved.wheels} == {"acme": "2.0", "lib": "1.0"}
    assert [w.version for w in moved.build] == ["2.0"]


def test_a_python_that_is_not_here_is_named(pip_bench: Bench) -> None:
    add_source(pip_bench, "acme")
    error = refuse(pip_bench, "acme", build=("acme",), python="3.99.0")
    assert error.code == "pip.no-python"
    assert "python3.99" in str(error.hint)
