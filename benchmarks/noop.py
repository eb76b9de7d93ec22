"""`nox -s build-env` with nothing to do, 50 environments, against `nox --list`."""

from __future__ import annotations

import shutil

from benchmarks.timing import Sample, pair, print_rows, say
from benchmarks.workspace import REQUIREMENTS, open_workspace

__all__ = ["measure"]

_ENVIRONMENTS = 50


def measure(rounds: int) -> None:
    """Print the row."""
    with open_workspace() as space:
        say("locking and building one environment")
        space.write_environment("bench-00", [*REQUIREMENTS, "tqdm"])
        space.nox("-s", "lock", "build-env")
        for number in range(1, _ENVIRONMENTS):
            name = f"bench-{number:02}"
            shutil.copy(space.root / "envs/bench-00.toml", space.root / f"envs/{name}.toml")
            shutil.copytree(space.root / "lockfiles/bench-00", space.root / f"lockfiles/{name}")
        say(f"building the other {_ENVIRONMENTS - 1}")
        space.nox("-s", "build-env")

        def ours(_: int) -> Sample:
            return space.nox("-s", "build-env")

        def theirs(_: int) -> Sample:
            return space.nox("--list")

        ours(0)
        left, right = pair(ours, theirs, rounds=max(rounds, 7))
        title = f"nothing to do, {_ENVIRONMENTS} environments (against `nox --list`)"
        print_rows(title, left, right, "at most 3")
