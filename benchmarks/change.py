"""One package changed: build, push, and into the engine, against what Docker does for it."""

from __future__ import annotations

import shutil
import statistics
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.cold import load_base
from benchmarks.timing import Sample, print_rows, say
from benchmarks.workspace import REQUIREMENTS, Workspace, open_workspace, serve_registry

__all__ = ["measure"]

_VERSIONS = ("4.67.0", "4.67.1", "4.67.2", "4.67.3", "4.68.0", "4.68.1", "4.68.2", "4.68.3")


@dataclass(kw_only=True, slots=True)
class _Side:
    """One side's samples of each step, and the bytes that it pushed, by round."""

    build: list[Sample] = field(default_factory=list)
    both: list[Sample] = field(default_factory=list)
    load: list[Sample] = field(default_factory=list)
    pushed: list[int] = field(default_factory=list)


def measure(rounds: int) -> None:
    """Print the rows: build; build and push, with its bytes; the engine gets the image.

    Each round takes two new versions, one that is only built and one that is pushed, too.
    """
    rounds = min(rounds, (len(_VERSIONS) - 1) // 2)
    versions = _VERSIONS[: 2 * rounds + 1]
    with serve_registry() as (host, storage), open_workspace(f"{host}/bench") as space:
        say("locking, and downloading what both sides need")
        for version in versions:
            _prepare(space, version)
        base = load_base(space)
        peer = f"{host}/peer:latest"
        ours, theirs = _Side(), _Side()

        def assemble(version: str, *options: str) -> Sample:
            _use(space, version)
            return space.nox("-s", "build-env", "--", "bench", *options)

        def docker(version: str) -> Sample:
            _use(space, version)
            context = space.write_context("bench")
            return space.docker("build", "--build-arg", f"BASE={base}", "-t", peer, str(context))

        def turn(number: int) -> None:
            built, pushed = versions[2 * number + 1 : 2 * number + 3]
            ours.build.append(assemble(built))
            theirs.build.append(docker(built))
            before = _size(storage)
            ours.both.append(assemble(pushed, "--push"))
            ours.pushed.append(_size(storage) - before)
            ours.load.append(assemble(pushed, "--load"))
            build, before = docker(pushed), _size(storage)
            push = space.docker("push", peer)
            theirs.pushed.append(_size(storage) - before)
            theirs.both.append(build.and_then(push))
            # The builder's own cache would give the engine the layer without a pull.
            space.docker("image", "rm", "--force", peer)
            space.docker("builder", "prune", "--all", "--force")
            theirs.load.append(space.docker("pull", peer))
            say(f"round {number + 1} of {rounds}")

        space.forget_images()
        say("first images and pushes, not counted")
        assemble(versions[0], "--push")
        assemble(versions[0], "--load")
        docker(versions[0])
        space.docker("push", peer)
        for number in range(rounds):
            turn(number)
        start = [space.nox("--list") for _ in range(3)]
        _print(ours, theirs, start)
        space.docker("image", "rm", "--force", peer, base)


def _print(ours: _Side, theirs: _Side, start: list[Sample]) -> None:
    change = "one package changed"
    bare = statistics.median(sample.seconds for sample in start)
    rows = (
        ("build (`docker build`)", ours.build, theirs.build, "at most 1/50"),
        ("build and push (`docker build`, `docker push`)", ours.both, theirs.both, "at most 1/100"),
        ("into the engine (`docker pull` of the Dockerfile's)", ours.load, theirs.load,
         "at most 1/5"),
    )  # fmt: skip
    for title, mine, other, goal in rows:
        print_rows(f"{change}, {title}", mine, other, goal)
        inside = [replace(one, seconds=max(one.seconds - bare, 0.001)) for one in mine]
        print_rows("the same without the start of Nox", inside, other, goal)
    mine_bytes, other_bytes = max(ours.pushed), min(theirs.pushed)
    print(f"| bytes pushed | {mine_bytes / 1e6:.2f} MB | {other_bytes / 1e6:.1f} MB | | | | |")


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
