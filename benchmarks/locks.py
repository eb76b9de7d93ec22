"""Locks: checking 50, refreshing one of 50, resolving against pip-compile and conda-lock."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.three_platforms import measure_three
from benchmarks.timing import Sample, pair, print_rows, run, say
from benchmarks.workspace import REQUIREMENTS, Workspace, open_workspace

__all__ = ["measure"]

_ENVIRONMENTS = 50
_LIMITS = ("tqdm<5", "tqdm<6", "tqdm<7", "tqdm<8")
"""Requests that differ, and are met by the same release: each has to be resolved anew."""


def measure(rounds: int) -> None:
    """Print the rows; all caches are warm on both sides."""
    with open_workspace() as space:
        say("locking one environment")
        _ask(space, _LIMITS[0])
        space.nox("-s", "lock")
        for number in range(1, _ENVIRONMENTS):
            name = f"bench-{number:02}"
            shutil.copy(space.root / "envs/bench-00.toml", space.root / f"envs/{name}.toml")
            shutil.copytree(space.root / "lockfiles/bench-00", space.root / f"lockfiles/{name}")
        _measure_check(space, max(rounds, 5))
        _measure_refresh(space, rounds)
        for resolver in ("pip-tools", "uv"):
            _measure_resolver(space, rounds, resolver)
    measure_three(rounds)


def _measure_check(space: Workspace, rounds: int) -> None:
    left, right = pair(
        lambda _: space.nox("-s", "check"), lambda _: space.nox("--list"), rounds=rounds
    )
    print_rows(f"check of {_ENVIRONMENTS} environments (`nox --list`)", left, right, "less than 2")


def _measure_refresh(space: Workspace, rounds: int) -> None:
    turn = _turns(space)

    def refresh(*names: str) -> Sample:
        turn()
        return space.nox("-s", "lock", "--", *names)

    refresh()
    left, right = pair(lambda _: refresh(), lambda _: refresh("bench-00"), rounds=rounds)
    title = f"refresh of {_ENVIRONMENTS} environments where one changed (of that one alone)"
    print_rows(title, left, right, "at most 1.5")


def _measure_resolver(space: Workspace, rounds: int, resolver: str) -> None:
    turn = _turns(space, resolver)
    source, target = space.root / "requirements.in", space.root / "requirements.txt"

    def ours(_: int) -> Sample:
        turn()
        return space.nox("-s", "lock", "--", "bench-00")

    def theirs(number: int) -> Sample:  # its last output is there, too, and gives preferences
        limit = _LIMITS[number % len(_LIMITS)]
        source.write_text("\n".join([*REQUIREMENTS, limit, ""]))
        return _compile(space, source, target)

    ours(0)
    theirs(-1)
    left, right = pair(ours, theirs, rounds=rounds)
    goal = "at most 1" if resolver == "pip-tools" else "at most 1/5"
    print_rows(f"lock with {resolver} (`pip-compile` alone, without hashes)", left, right, goal)


def _compile(space: Workspace, source: Path, target: Path) -> Sample:
    program = str(Path(sys.executable).with_name("pip-compile"))
    return run(
        [program, "--quiet", "--strip-extras", "--output-file", str(target), str(source)],
        cwd=space.root, env=space.environment, log=space.root / "pip-compile.log",
    )  # fmt: skip


def _turns(space: Workspace, resolver: str = "uv") -> Callable[[], None]:
    """Return what gives `bench-00` another request each time it is called."""
    calls = 0

    def turn() -> None:
        nonlocal calls
        calls += 1
        _ask(space, _LIMITS[calls % len(_LIMITS)], resolver)

    return turn


def _ask(space: Workspace, requirement: str, resolver: str = "uv") -> None:
    space.write_environment("bench-00", [*REQUIREMENTS, requirement])
    file = space.root / "envs/bench-00.toml"
    file.write_text(file.read_text().replace('resolver = "uv"', f'resolver = "{resolver}"'))
