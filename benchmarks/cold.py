"""A cold image of about 58 wheels against `docker build` of the same lock, downloads warm."""

from __future__ import annotations

from benchmarks.timing import Sample, pair, print_rows, say
from benchmarks.workspace import REQUIREMENTS, Workspace, open_workspace

__all__ = ["load_base", "measure"]


def load_base(space: Workspace) -> str:
    """Load an image of the base alone into the engine, for Dockerfiles to stand on."""
    space.write_environment("bench-base", [])
    space.nox("-s", "lock", "--", "bench-base")
    space.nox("-s", "build-env", "--", "bench-base", "--load")
    log = (space.root / "nox.log").read_text()
    return next(line.strip() for line in log.splitlines() if "bench-base:" in line and "/" in line)


def measure(rounds: int) -> None:
    """Print the rows: into our store, and all the way into the engine."""
    with open_workspace() as space:
        say("locking, and downloading what both sides need")
        space.write_environment("bench", [*REQUIREMENTS, "tqdm"])
        space.nox("-s", "lock", "--", "bench")
        space.nox("-s", "build-env", "--", "bench")
        base = load_base(space)
        context = space.write_context("bench")
        say(f"{len(list((context / 'wheels').iterdir()))} wheels")

        def assemble(_: int) -> Sample:
            space.forget_images()
            return space.nox("-s", "build-env", "--", "bench")

        def docker(_: int) -> Sample:
            return space.docker(
                "build", "--no-cache", "--build-arg", f"BASE={base}", "-t", "bench-peer",
                str(context),
            )  # fmt: skip

        docker(0)
        left, right = pair(assemble, docker, rounds=rounds)
        print_rows("cold image of the wheels (`docker build`)", left, right, "at most 1/2")
        space.docker("image", "rm", "--force", "bench-peer", base)
