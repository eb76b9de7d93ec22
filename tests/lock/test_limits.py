"""What limits a resolution: constraints, overrides, and a day after which nothing is seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envbuild.errors import LockError
from envbuild.kit.places import Cache
from envbuild.lock.upgrade import Upgrade
from tests.rig.conda_channel import CondaChannel, open_channel, rewrite_index
from tests.rig.conda_solver import Solver, versions, write_own_conda
from tests.rig.pip_bench import FOREIGN, Bench

RESOLVERS = pytest.mark.parametrize("resolver", ["uv", "pip-tools"])


def _fill(bench: Bench) -> None:
    """An app that asks for a library, of which there are three versions, a month apart."""
    bench.index.add("app", "1.0", "lib>=1", "other", uploaded="2026-01-01T00:00:00Z")
    bench.index.add("other", "1.0", "lib<3", uploaded="2026-01-01T00:00:00Z")
    for month, version in enumerate(("1.0", "2.0", "3.0"), start=1):
        bench.index.add("lib", version, uploaded=f"2026-0{month}-15T12:00:00Z")


@RESOLVERS
def test_a_constraint_limits_and_brings_in_nothing(pip_bench: Bench, resolver: str) -> None:
    _fill(pip_bench)
    pins = pip_bench.pins("app", resolver=resolver, limits=("Lib<2", "absent>=9"))
    assert pins == {"app": "1.0", "other": "1.0", "lib": "1.0"}
    text = pip_bench.resolve("app", resolver=resolver, limits=("lib<2",)).text
    assert b"lib==1.0" in text
    assert b"conda.txt" not in text


@RESOLVERS
def test_a_constraint_that_fights_a_dependency_is_explained(
    pip_bench: Bench, resolver: str
) -> None:
    _fill(pip_bench)
    with pytest.raises(LockError) as caught:
        pip_bench.resolve("app", resolver=resolver, limits=("lib>=3",))
    assert caught.value.code == "lock.unsatisfiable"
    assert "lib<3" in str(caught.value)
    assert "lib>=3" in str(caught.value)
    assert "pip.constraints" in str(caught.value.hint)


@pytest.mark.parametrize("foreign", [False, True])
def test_an_override_stands_in_place_of_what_packages_say(pip_bench: Bench, foreign: bool) -> None:
    """pip-compile has no overrides, so that uv is asked on every platform, without a word."""
    _fill(pip_bench)
    platform = FOREIGN if foreign else None
    solution = pip_bench.resolve(
        "app", resolver="pip-tools", platform=platform, overrides=("lib>=3",)
    )
    assert {w.name: w.version for w in solution.wheels}["lib"] == "3.0"
    assert list(solution.tools) == ["uv"]
    assert pip_bench.heard.notes == []


@pytest.mark.parametrize(
    ("resolver", "before", "version"),
    [
        ("uv", "2026-02-14", "1.0"),
        ("uv", "2026-02-15", "2.0"),  # the day itself is in
        ("uv", "2026-02-15T12:00:00Z", "1.0"),  # this very moment isn't
        ("uv", "2026-02-15T13:00:01+01:00", "2.0"),
        ("pip-tools", "2026-02-15", "2.0"),
        ("pip-tools", "2026-02-15T12:00:00Z", "1.0"),
    ],
)
def test_what_was_published_later_is_not_seen(
    pip_bench: Bench, resolver: str, before: str, version: str
) -> None:
    _fill(pip_bench)
    solution = pip_bench.resolve("app", resolver=resolver, before=before)
    assert {w.name: w.version for w in solution.wheels}["lib"] == version
    assert ("pip-tools" in solution.tools) == (resolver == "pip-tools")


@RESOLVERS
def test_pins_from_after_the_day_are_left(pip_bench: Bench, resolver: str) -> None:
    _fill(pip_bench)
    today = pip_bench.resolve("app", resolver=resolver)
    then = pip_bench.resolve("app", resolver=resolver, previous=today.text, before="2026-01-31")
    assert {w.name: w.version for w in then.wheels}["lib"] == "1.0"
    kept = pip_bench.resolve("app", resolver=resolver, previous=then.text, before="2026-03-31")
    assert kept.text == then.text


@RESOLVERS
def test_an_index_that_tells_no_times_is_named(pip_bench: Bench, resolver: str) -> None:
    pip_bench.index.add("app", "1.0")
    with pytest.raises(LockError) as caught:
        pip_bench.resolve("app", resolver=resolver, before="2026-01-31")
    assert caught.value.code == "lock.no-upload-time"
    assert "`app` 1.0" in caught.value.message


@RESOLVERS
@pytest.mark.parametrize("seeded", [False, True])
def test_an_index_without_times_is_named_for_an_exact_version_and_a_pin(
    pip_bench: Bench, resolver: str, seeded: bool
) -> None:
    for version in ("1.0", "2.0"):
        pip_bench.index.add("app", version)
    previous = pip_bench.resolve("app", resolver=resolver).text if seeded else None
    for request in ("app==2.0", "app==1.0", "app"):
        with pytest.raises(LockError, match="no index says when `app`") as caught:
            pip_bench.resolve(request, resolver=resolver, before="2026-01-31", previous=previous)
        assert caught.value.code == "lock.no-upload-time"
        assert "`--exclude-newer`" in str(caught.value.hint)


def test_what_came_too_late_is_named(pip_bench: Bench) -> None:
    _fill(pip_bench)
    with pytest.raises(LockError, match=r"`lib` 3\.0 was published later .* 2026-03-15T12:00:00Z"):
        pip_bench.resolve("lib>=3", before="2026-03-14")
    with pytest.raises(LockError, match=r"`lib` 3\.0 was published later .* 2026-03-15T12:00:00Z"):
        pip_bench.resolve("lib==3.0", before="2026-03-14")


def _date(channel: CondaChannel, times: dict[str, int]) -> None:
    """Give packages the build times that a channel without times of its own index tells."""

    def change(entry: dict[str, Any]) -> None:
        entry.pop("indexed_timestamp", None)
        entry["timestamp"] = times.get(f"{entry['name']} {entry['version']}", 10**12)

    rewrite_index(channel, change)


def test_conda_packages_from_later_are_not_seen(
    conda_channel: CondaChannel, cache: Cache, tmp_path: Path
) -> None:
    with open_channel(conda_channel.folder, tmp_path / "copy" / "main") as channel:
        solver = Solver.on(channel, tmp_path / "solver")
        _date(channel, {"greet 2.0": 1_769_860_800_000})  # 2026-01-31T12:00:00Z

        def greet(before: str | None, **more: object) -> str:
            found = solver.lock("greet", before=before, **more)  # type: ignore[arg-type]
            return versions(found.packages["linux-64"])["greet"]

        newest = solver.lock("greet")
        assert greet(None) == greet("2026-01-31") == "2.0"
        assert greet("2026-01-30") == greet("2026-01-31T12:00:00Z") == "1.1"
        assert greet("2026-01-30", previous=newest) == "1.1"
        assert greet("2026-01-30", previous=newest, upgrade=Upgrade(everything=True)) == "1.1"
        with pytest.raises(LockError) as caught:
            solver.lock("greet 2.*", before="2026-01-30")
        assert caught.value.code == "lock.unsatisfiable"
        assert "exclude-newer" in str(caught.value.hint)


def test_a_users_conda_that_knows_no_time_is_refused(
    conda_channel: CondaChannel, cache: Cache, tmp_path: Path
) -> None:
    own = write_own_conda(tmp_path / "mamba")
    solver = Solver.on(conda_channel, tmp_path / "solver").with_conda(own)
    with pytest.raises(LockError) as caught:
        solver.lock("greet", before="2026-01-31")
    assert caught.value.code == "lock.exclude-newer"
