"""A cold image of about 58 wheels against `docker build` of the same lock, downloads warm."""

from __future__ import annotations

from benchmarks.compiling import print_floor
from benchmarks.timing import Sample, pair, print_rows, say
from benchmarks.workspace import REQUIREMENTS, Workspace, open_workspace

__all__ = ["load_base", "measure", "measure_platforms"]


def load_base(space: Workspace, *, bytecode: bool = False) -> str:
    """Load an image of the base alone into the engine, for Dockerfiles to stand on."""
    space.write_environment("bench-base", [], bytecode=bytecode)
    space.nox("-s", "lock", "--", "bench-base")
    space.nox("-s", "build-env", "--", "bench-base", "--load")
    log = (space.root / "nox.log").read_text()
    return next(line.strip() for line in log.splitlines() if "bench-base:" in line and "/" in line)


def measure(rounds: int) -> None:
    """Print two rows: without byte code on both sides, and with it on both."""
    for bytecode in (False, True):
        with open_workspace() as space:
            _measure(space, rounds, bytecode=bytecode)


def _measure(space: Workspace, rounds: int, *, bytecode: bool) -> None:
    say("locking, and downloading what both sides need")
    space.write_environment("bench", [*REQUIREMENTS, "tqdm"], bytecode=bytecode)
    space.lock("bench")
    base = load_base(space, bytecode=bytecode)
    context = space.write_context("bench", bytecode=bytecode)
    say(f"{len(list((context / 'wheels').iterdir()))} wheels")

    def assemble(_: int) -> Sample:
        space.forget_images()
        space.nox("-s", "build-env", "--", "bench-base")  # a Dockerfile finds its base there, too
        return space.nox("-s", "build-env", "--", "bench")

    def docker(_: int) -> Sample:
        return space.docker(
            "build", "--no-cache", "--build-arg", f"BASE={base}", "-t", "bench-peer", str(context)
        )

    docker(0)
    left, right = pair(assemble, docker, rounds=rounds)
    title = "with byte code" if bytecode else "without byte code"
    print_rows(f"cold build, {title} (`docker build`)", left, right, "at most 1/5")
    if bytecode:
        print_floor(space, "bench", (context / "wheels").glob("*.whl"))
    space.docker("image", "rm", "--force", "bench-peer", base)


def measure_platforms(rounds: int) -> None:
    """Print the row of two architectures against one, both ours and without byte code."""
    with open_workspace() as space:
        say("locking, and downloading for two architectures")
        wanted = [*REQUIREMENTS, "tqdm"]
        space.write_environment("bench", wanted)
        space.write_environment("both", wanted, platforms=("linux-64", "linux-aarch64"))
        space.lock("bench")
        space.lock("both")

        def build(name: str) -> Sample:
            space.forget_images()
            return space.nox("-s", "build-env", "--", name)

        left, right = pair(lambda _: build("both"), lambda _: build("bench"), rounds=rounds)
        print_rows("two architectures (one)", left, right, "at most 2.2")
