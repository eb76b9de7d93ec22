"""Nothing to do for 50 environments: here, and when the registry is asked."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from benchmarks.timing import Sample, pair, print_rows, say
from benchmarks.workspace import REQUIREMENTS, Workspace, open_workspace, serve_registry

__all__ = ["measure"]

_ENVIRONMENTS = 50


def measure(rounds: int) -> None:
    """Print the rows: against `nox --list`, and with the registry against docker's own no-op."""
    with serve_registry() as (host, _), open_workspace(f"{host}/noop") as space:
        say("locking and building one environment")
        space.write_environment("bench-00", [*REQUIREMENTS, "tqdm"])
        space.nox("-s", "lock", "build-env")
        for number in range(1, _ENVIRONMENTS):
            name = f"bench-{number:02}"
            shutil.copy(space.root / "envs/bench-00.toml", space.root / f"envs/{name}.toml")
            shutil.copytree(space.root / "lockfiles/bench-00", space.root / f"lockfiles/{name}")
        say(f"building and pushing the other {_ENVIRONMENTS - 1}")
        space.nox("-s", "build-env", "--", "--push")
        rounds = max(rounds, 7)
        listed = _measure_local(space, rounds)
        _measure_registry(space, rounds, listed)
        _measure_command(space, rounds)


def _measure_local(space: Workspace, rounds: int) -> float:
    """Return the median of `nox --list`, which is what Nox costs before anything is done."""
    space.nox("-s", "build-env")
    left, right = pair(
        lambda _: space.nox("-s", "build-env"), lambda _: space.nox("--list"), rounds=rounds
    )
    title = f"nothing to do, {_ENVIRONMENTS} environments (`nox --list`)"
    print_rows(title, left, right, "at most 3")
    return statistics.median(sample.seconds for sample in right)


def _measure_registry(space: Workspace, rounds: int, listed: float) -> None:
    context = _write_context(space.root / "noop")

    def docker(_: int) -> Sample:
        first = space.docker("build", "-t", "bench-noop", str(context))
        second = space.docker("build", "-t", "bench-noop", str(context))
        return Sample(
            seconds=first.seconds + second.seconds, peak_mb=max(first.peak_mb, second.peak_mb)
        )

    docker(0)
    left, right = pair(
        lambda _: space.nox("-s", "build-env", "--", "--push"), docker, rounds=rounds
    )
    title = f"nothing changed, registry asked, {_ENVIRONMENTS} environments"
    print_rows(f"{title} (two no-op `docker build`)", left, right, "less than 1")
    ours = statistics.median(sample.seconds for sample in left)
    each = (ours - listed) / _ENVIRONMENTS * 1000
    print(
        f"| the same, an environment beyond Nox's start | {each:.1f} ms | | | 10 ms | {rounds} | |"
    )
    space.docker("image", "rm", "--force", "bench-noop")


def _measure_command(space: Workspace, rounds: int) -> None:
    """Print what one environment costs by the command: 50 against one, so without any start."""
    many, one = pair(
        lambda _: space.envbuild("build-env", "--push"),
        lambda _: space.envbuild("build-env", "bench-00", "--push"),
        rounds=rounds,
    )
    title = f"registry asked, by the command `envbuild`, {_ENVIRONMENTS} environments (one)"
    print_rows(title, many, one, "")
    differences = [a.seconds - b.seconds for a, b in zip(many, one, strict=True)]
    each = statistics.median(differences) / (_ENVIRONMENTS - 1) * 1000
    print(f"| an environment more | {each:.1f} ms | | | 10 ms | {rounds} | |")


def _write_context(folder: Path) -> Path:
    folder.mkdir()
    (folder / "file").write_text("content\n")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY file /file\n")
    return folder
