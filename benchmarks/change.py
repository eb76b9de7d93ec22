"""One package changed: build, push, and into the engine, against what Docker does for it."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.cold import load_base
from benchmarks.timing import Sample, pair, print_rows, say
from benchmarks.workspace import REQUIREMENTS, Workspace, open_workspace, serve_registry

__all__ = ["measure"]

_VERSIONS = ("4.67.0", "4.67.1", "4.67.2", "4.67.3", "4.68.0", "4.68.1", "4.68.2", "4.68.3")


class _Side:
    """The samples of one side's steps, and the bytes that it pushed, by round."""

    def __init__(self) -> None:
        self.build: list[Sample] = []
        self.both: list[Sample] = []
        self.load: list[Sample] = []
        self.pushed: list[int] = []

    def add(self, build: Sample, push: Sample, load: Sample, pushed: int) -> None:
        self.build.append(build)
        peak = max(build.peak_mb, push.peak_mb)
        self.both.append(Sample(seconds=build.seconds + push.seconds, peak_mb=peak))
        self.load.append(load)
        self.pushed.append(pushed)


def measure(rounds: int) -> None:
    """Print the rows: build; build and push, with its bytes; the engine gets the image."""
    versions = _VERSIONS[: rounds + 1]
    with serve_registry() as (host, storage), open_workspace(f"{host}/bench") as space:
        say("locking, and downloading what both sides need")
        for version in versions:
            _prepare(space, version)
        base = load_base(space)
        peer = f"{host}/peer:latest"
        ours, theirs = _Side(), _Side()

        def assemble(number: int) -> Sample:
            _use(space, versions[number])
            build = space.nox("-s", "build-env", "--", "bench")
            before = _size(storage)
            push = space.nox("-s", "build-env", "--", "bench", "--push")
            pushed = _size(storage) - before
            load = space.nox("-s", "build-env", "--", "bench", "--load")
            ours.add(build, push, load, pushed)
            return build

        def docker(number: int) -> Sample:
            _use(space, versions[number])
            context = space.write_context("bench")
            build = space.docker("build", "--build-arg", f"BASE={base}", "-t", peer, str(context))
            before = _size(storage)
            push = space.docker("push", peer)
            pushed = _size(storage) - before
            space.docker("image", "rm", "--force", peer)
            load = space.docker("pull", peer)
            theirs.add(build, push, load, pushed)
            return build

        space.forget_images()
        say("first images and pushes, not counted")
        assemble(0)
        docker(0)
        for side in (ours, theirs):
            for samples in (side.build, side.both, side.load, side.pushed):
                samples.clear()
        pair(lambda n: assemble(n + 1), lambda n: docker(n + 1), rounds=len(versions) - 1)
        change = "one package changed"
        print_rows(f"{change}, build (`docker build`)", ours.build, theirs.build, "at most 1/50")
        title = f"{change}, build and push (`docker build`, `docker push`)"
        print_rows(title, ours.both, theirs.both, "at most 1/100")
        mine, other = max(ours.pushed), min(theirs.pushed)
        print(f"| bytes pushed for it | {mine / 1e6:.2f} MB | {other / 1e6:.1f} MB | | | | |")
        title = f"{change}, into the engine (`docker pull` of the Dockerfile's image)"
        print_rows(title, ours.load, theirs.load, "at most 1/5")
        space.docker("image", "rm", "--force", peer, base)


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
