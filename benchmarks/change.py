"""One package changed, build and push, against `docker build` and `docker push`."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.cold import load_base
from benchmarks.timing import Sample, pair, print_rows, say
from benchmarks.workspace import REQUIREMENTS, Workspace, open_workspace, serve_registry

__all__ = ["measure"]

_VERSIONS = ("4.67.0", "4.67.1", "4.67.2", "4.67.3", "4.68.0", "4.68.1", "4.68.2", "4.68.3")


def measure(rounds: int) -> None:
    """Print the row, and the bytes that each side pushed."""
    versions = _VERSIONS[: rounds + 1]
    with serve_registry() as (host, storage), open_workspace(host) as space:
        say("locking, and downloading what both sides need")
        for version in versions:
            _prepare(space, version)
        base = load_base(space)
        contexts = [space.write_context("bench") for v in versions if _use(space, v)]
        peer = f"{host}/bench/peer:latest"
        pushed: dict[str, list[int]] = {"ours": [], "theirs": []}

        def ours(number: int) -> Sample:
            _use(space, versions[number])
            before = _size(storage)
            sample = space.nox("-s", "build-env", "--", "bench", "--push")
            pushed["ours"].append(_size(storage) - before)
            return sample

        def theirs(number: int) -> Sample:
            _use(space, versions[number])
            context = space.write_context("bench")
            before = _size(storage)
            build = space.docker("build", "--build-arg", f"BASE={base}", "-t", peer, str(context))
            push = space.docker("push", peer)
            pushed["theirs"].append(_size(storage) - before)
            return Sample(seconds=build.seconds + push.seconds, peak_mb=build.peak_mb)

        space.forget_images()
        say("first images and pushes, not counted")
        ours(0)
        theirs(0)
        left, right = pair(lambda n: ours(n + 1), lambda n: theirs(n + 1), rounds=len(contexts) - 1)
        title = "one package changed, build and push (`docker build`, `docker push`)"
        print_rows(title, left, right, "at most 1/20")
        mine, other = max(pushed["ours"][1:]), min(pushed["theirs"][1:])
        print(f"| bytes pushed for it | {mine / 1e6:.2f} MB | {other / 1e6:.1f} MB | | | | |")
        space.docker("image", "rm", "--force", peer, base)


def _prepare(space: Workspace, version: str) -> None:
    """Lock one variant, download its packages, and put its lock aside."""
    space.write_environment("bench", [*REQUIREMENTS, f"tqdm=={version}"])
    space.nox("-s", "lock", "--", "bench")
    space.nox("-s", "build-env", "--", "bench")
    shutil.copytree(space.root / "lockfiles/bench", space.root / "variants" / version)
    shutil.copy(space.root / "envs/bench.toml", space.root / "variants" / version)


def _use(space: Workspace, version: str) -> bool:
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
    return True


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
