"""One package changed: build, push, and into the engine, against what Docker does for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.cold import load_base
from benchmarks.timing import Sample, print_rows, say
from benchmarks.workspace import REQUIREMENTS, Workspace, open_workspace, serve_registry

__all__ = ["measure"]

_VERSIONS = (
    "4.66.0", "4.66.1", "4.66.2", "4.66.3", "4.66.4", "4.66.5", "4.66.6",
    "4.67.0", "4.67.1", "4.67.2", "4.67.3", "4.68.0", "4.68.1",
)  # fmt: skip
_EACH = 4
"""New versions in a round: two that are only built and two that are pushed, too."""


@dataclass(kw_only=True, slots=True)
class _Side:
    """One side's samples of each step, and the bytes that it pushed, by round."""

    build: list[Sample] = field(default_factory=list)
    both: list[Sample] = field(default_factory=list)
    load: list[Sample] = field(default_factory=list)
    pushed: list[int] = field(default_factory=list)


def measure(rounds: int) -> None:
    """Print the rows: build; build and push, with its bytes; the engine gets the image."""
    rounds = min(rounds, (len(_VERSIONS) - 1) // _EACH)
    versions = _VERSIONS[: _EACH * rounds + 1]
    with serve_registry() as (host, storage), open_workspace(f"{host}/bench") as space:
        say("locking, and downloading what both sides need")
        for version in versions:
            _prepare(space, version)
        base = load_base(space)
        peer = f"{host}/peer:latest"
        nox, command, theirs = _Side(), _Side(), _Side()

        def with_nox(version: str, *options: str) -> Sample:
            _use(space, version)
            return space.nox("-s", "build-env", "--", "bench", *options)

        def without_nox(version: str, *options: str) -> Sample:
            _use(space, version)
            return space.envbuild("build-env", "bench", *options)

        def docker(version: str) -> Sample:
            _use(space, version)
            context = space.write_context("bench")
            return space.docker("build", "--build-arg", f"BASE={base}", "-t", peer, str(context))

        def push(side: _Side, build: Callable[..., Sample], version: str) -> None:
            before = _size(storage)
            side.both.append(build(version, "--push"))
            side.pushed.append(_size(storage) - before)
            side.load.append(build(version, "--load"))

        def turn(number: int) -> None:
            start = _EACH * number + 1
            built, also, pushed, last = versions[start : start + _EACH]
            nox.build.append(with_nox(built))
            command.build.append(without_nox(also))
            theirs.build.append(docker(built))
            push(nox, with_nox, pushed)
            push(command, without_nox, last)
            build, before = docker(pushed), _size(storage)
            sent = space.docker("push", peer)
            theirs.pushed.append(_size(storage) - before)
            theirs.both.append(build.and_then(sent))
            # The builder's own cache would give the engine the layer without a pull.
            space.docker("image", "rm", "--force", peer)
            space.docker("builder", "prune", "--all", "--force")
            theirs.load.append(space.docker("pull", peer))
            say(f"round {number + 1} of {rounds}")

        space.forget_images()
        say("first images and pushes, not counted")
        without_nox(versions[0], "--push")
        with_nox(versions[0], "--load")
        docker(versions[0])
        space.docker("push", peer)
        for number in range(rounds):
            turn(number)
        _print(nox, command, theirs)
        space.docker("image", "rm", "--force", peer, base)


def _print(nox: _Side, command: _Side, theirs: _Side) -> None:
    change, same = "one package changed", "the same by the command `envbuild`"
    print_rows(f"{change}, build (`docker build`)", nox.build, theirs.build, "at most 1/50")
    print_rows(same, command.build, theirs.build, "at most 1/50")
    title = f"{change}, build and push (`docker build`, `docker push`)"
    print_rows(title, nox.both, theirs.both, "at most 1/100")
    print_rows(same, command.both, theirs.both, "at most 1/100")
    mine, other = max(nox.pushed + command.pushed), min(theirs.pushed)
    print(f"| bytes pushed for it | {mine / 1e6:.2f} MB | {other / 1e6:.1f} MB | | | | |")
    title = f"{change}, into the engine (`docker pull` of the Dockerfile's)"
    print_rows(title, nox.load, theirs.load, "at most 1/5")
    print_rows(same, command.load, theirs.load, "at most 1/5")


def _prepare(space: Workspace, version: str) -> None:
    """Lock one variant, download its packages, and put its lock aside."""
    space.write_environment("bench", [*REQUIREMENTS, f"tqdm=={version}"])
    space.lock("bench")
    shutil.copytree(space.root / "lockfiles/bench", space.root / "variants" / version)
    shutil.copy(space.root / "envs/bench.toml", space.root / "variants" / version)


def _use(space: Workspace, version: str) -> None:
    """Make a variant the current state of the repository."""
    shutil.rmtree(space.root / "lockfiles/bench")
    shutil.copytree(
        space.root / "variants" / version, space.root / "lockfiles/bench",
        ignore=shutil.ignore_patterns("bench.toml"),
    )  # fmt: skip
    shutil.copy(space.root / "variants" / version / "bench.toml", space.root / "envs/bench.toml")
    wheels = space.root / "context/bench/wheels"
    for wheel in wheels.glob("tqdm-*.whl") if wheels.is_dir() else ():
        wheel.unlink()


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
