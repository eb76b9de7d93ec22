"""Wheels of the repository: locked by hash and path, resolved like others, refused once changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuild.errors import LockError
from envbuild.kit.canonical import digest_file
from envbuild.kit.places import Cache
from envbuild.lock.model import PlatformLock
from envbuild.lock.pip import PipSolution
from envbuild.lock.provenance import Provenance, Shop
from envbuild.lock.source_again import get_wheels
from envbuild.spec.model import EnvSpec
from tests.rig.pip_bench import FOREIGN, MINOR, TAG, Bench, Heard, find_host
from tests.rig.pip_index import make_wheel, wheel_name

RESOLVERS = pytest.mark.parametrize("resolver", ["pip-tools", "uv"])


def put_wheel(
    bench: Bench, name: str, version: str, *requires: str, tag: str = "py3-none-any",
    extras: tuple[str, ...] = (),
) -> str:  # fmt: skip
    """Write a wheel into the repository and return its path there."""
    path = f"wheels/{wheel_name(name, version, tag)}"
    file = bench.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(make_wheel(name, version, tag=tag, requires=requires, extras=extras)[0])
    return path


def lock_of(solution: PipSolution) -> PlatformLock:
    return PlatformLock(
        platform=find_host().subdir, python=MINOR, glibc="2.17", wheels=solution.wheels,
        sources=solution.sources, trees=solution.trees, build=solution.build,
    )  # fmt: skip


def fetch(bench: Bench, solution: PipSolution, cache: Cache) -> dict[str, Path]:
    lock = lock_of(solution)
    found = get_wheels(
        lock.wheels,
        Provenance(root=bench.root, lock=lock),
        shop=Shop(
            spec=EnvSpec(python=f"{MINOR}.*"),
            minor=MINOR,
            cache=cache,
            progress=Heard(),
            task="cpu",
        ),
        platform=find_host(),
    )
    return dict(found)


@RESOLVERS
def test_its_needs_are_resolved_like_those_of_others(pip_bench: Bench, resolver: str) -> None:
    path = put_wheel(pip_bench, "acme", "1.0", "kit>=1", "plots; extra == 'all'", extras=("all",))
    pip_bench.index.add("kit", "1.5")
    pip_bench.index.add("plots", "0.1")
    pip_bench.index.add("app", "1.0", "acme>=0.5")
    pip_bench.index.add("acme", "9.0")
    solution = pip_bench.resolve(f"acme[all] @ file:./{path}", "app", resolver=resolver)
    assert {w.name: w.version for w in solution.wheels} == {
        "acme": "1.0", "app": "1.0", "kit": "1.5", "plots": "0.1",
    }  # fmt: skip
    (source,) = solution.sources
    assert (source.kind, source.place) == ("file", path)
    acme = next(w for w in solution.wheels if w.name == "acme")
    assert f"sha256:{acme.sha256}" == digest_file(pip_bench.root / path)
    text = solution.text.decode()
    assert f"# acme==1.0 is the file `./{path}` of the repository\n    # via\n    #   app\n" in text
    assert "\nkit==1.5 \\\n" in text


def test_one_that_contradicts_another_package_is_unsatisfiable(pip_bench: Bench) -> None:
    path = put_wheel(pip_bench, "acme", "1.0")
    pip_bench.index.add("app", "1.0", "acme>=2")
    pip_bench.index.add("acme", "2.0")
    with pytest.raises(LockError) as failure:
        pip_bench.resolve(f"./{path}", "app")
    assert failure.value.code == "lock.unsatisfiable"
    assert "acme" in failure.value.message
    assert "+envbuild" not in failure.value.message


def test_of_several_each_platform_takes_its_own(pip_bench: Bench) -> None:
    machines = (find_host().machine, FOREIGN.machine)
    paths = [
        put_wheel(pip_bench, "acme", "1.0", tag=f"{TAG}-{TAG}-linux_{machine}")
        for machine in machines
    ]
    asked = [f"./{path}" for path in paths]
    for path, platform in zip(paths, (find_host(), FOREIGN), strict=True):
        (wheel,) = pip_bench.resolve(*asked, platform=platform).wheels
        assert f"wheels/{wheel.filename}" == path
    with pytest.raises(LockError) as failure:
        pip_bench.resolve(asked[0], platform=FOREIGN)
    assert failure.value.code == "pip.wheel-foreign"
    assert FOREIGN.subdir in failure.value.message
    marked = f'{asked[0]} ; platform_machine == "{machines[0]}"'
    assert pip_bench.resolve(marked, platform=FOREIGN).wheels == ()


def test_it_comes_from_the_repository(pip_bench: Bench, cache: Cache) -> None:
    path = put_wheel(pip_bench, "acme", "1.0")
    solution = pip_bench.resolve(f"./{path}")
    found = fetch(pip_bench, solution, cache)
    assert [p.read_bytes() for p in found.values()] == [(pip_bench.root / path).read_bytes()]
    assert not pip_bench.index.downloads()


def test_a_changed_one_is_refused(pip_bench: Bench, cache: Cache) -> None:
    path = put_wheel(pip_bench, "acme", "1.0")
    solution = pip_bench.resolve(f"./{path}")
    put_wheel(pip_bench, "acme", "1.0", "more")
    with pytest.raises(LockError) as failure:
        fetch(pip_bench, solution, cache)
    assert failure.value.code == "pip.wheel-changed"
    assert path in failure.value.message
    (pip_bench.root / path).unlink()
    with pytest.raises(LockError) as failure:
        fetch(pip_bench, solution, cache)
    assert failure.value.code == "pip.wheel-missing"


def test_a_wheel_of_another_name_is_refused(pip_bench: Bench) -> None:
    path = put_wheel(pip_bench, "acme", "1.0")
    with pytest.raises(LockError) as failure:
        pip_bench.resolve(f"other @ ./{path}")
    assert failure.value.code == "pip.wheel-name"


def test_what_conda_brings_is_not_taken_twice(pip_bench: Bench) -> None:
    path = put_wheel(pip_bench, "acme", "1.0")
    with pytest.raises(LockError) as failure:
        pip_bench.resolve(f"./{path}", constraints={"Acme": "2.0"})
    assert failure.value.code == "pip.twice"


@pytest.mark.parametrize("data", [b"no zip", make_wheel("other", "1.0")[0]])
def test_what_is_no_wheel_is_refused(pip_bench: Bench, data: bytes) -> None:
    path = put_wheel(pip_bench, "acme", "1.0")
    (pip_bench.root / path).write_bytes(data)
    with pytest.raises(LockError) as failure:
        pip_bench.resolve(f"./{path}")
    assert failure.value.code == "pip.bad-wheel"
