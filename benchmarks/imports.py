"""The first `import sklearn` in a fresh container, with byte code in the image and without."""

from __future__ import annotations

from benchmarks.timing import Sample, pair, print_rows, say
from benchmarks.workspace import Workspace, open_workspace

__all__ = ["measure"]

_CODE = "import sklearn.ensemble, sklearn.linear_model, sklearn.pipeline"


def measure(rounds: int) -> None:
    """Print the row; the time is that of `docker run`, container start and all."""
    with open_workspace() as space:
        say("locking, building and loading two images")
        references = [_load(space, "with", bytecode=True), _load(space, "without", bytecode=False)]

        def start(reference: str) -> Sample:
            return space.docker(
                "run", "--rm", "--network", "none", reference, "python", "-c", _CODE
            )

        for reference in references:  # what is read from the disk the first time is not counted
            start(reference)
        left, right = pair(
            lambda _: start(references[0]), lambda _: start(references[1]), rounds=rounds
        )
        print_rows("first `import sklearn` (without byte code)", left, right, "at most 1/2")
        space.docker("image", "rm", "--force", *references)


def _load(space: Workspace, name: str, *, bytecode: bool) -> str:
    space.write_environment(name, ["scikit-learn"], bytecode=bytecode)
    space.nox("-s", "lock", "--", name)
    space.nox("-s", "build-env", "--", name, "--load")
    log = (space.root / "nox.log").read_text()
    return next(line.strip() for line in log.splitlines() if line.startswith(f"envbuild/{name}:"))
