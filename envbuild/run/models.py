"""The model folder of a service: which files go there, and how they get there."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from envbuild.engine.archive import Upload
from envbuild.errors import RunError
from envbuild.kit.canonical import CHUNK
from envbuild.run.record import RunFolder, find_latest

__all__ = ["MODEL_DIR", "find_models", "plan_model_uploads"]

MODEL_DIR: Final = "/models/model/1"
"""Where the models are in a container; `AZUREML_MODEL_DIR` says so there.

It ends in `NAME/VERSION` as in Azure: for other folders the scoring server logs a traceback at
each start.
"""


def find_models(
    models: Sequence[str], *, environment: str, root: Path, runs: Path
) -> Mapping[str, Path]:
    """Return each model's name in the model folder and where it is.

    A model is a path in the repository or else an output of the environment's latest completed
    run. Raises `RunError`: `smoke.no-model`, `smoke.model-twice`.
    """
    found: dict[str, Path] = {}
    for model in models:
        name = PurePosixPath(model).name
        if name in found:
            raise RunError(
                "smoke.model-twice",
                f"two models of `{environment}` have the name `{name}`",
                hint="the model folder is flat: give them different names",
            )
        found[name] = _find_model(model, environment=environment, root=root, runs=runs)
    return found


def _find_model(model: str, *, environment: str, root: Path, runs: Path) -> Path:
    if (root / model).exists():
        return root / model
    latest = find_latest(runs, environment)
    if latest is not None:
        place = RunFolder(root=runs / latest.id).find_place(model)
        if place.exists():
            return place
    where = f"nor an output of its latest run `{latest.id}`" if latest else "and it has no run yet"
    raise RunError(
        "smoke.no-model",
        f"the model `{model}` of `{environment}` is no file of the repository, {where}",
        hint=f"to train it, run `nox -s train -- {environment}`",
    )


def plan_model_uploads(models: Mapping[str, Path]) -> Iterator[Upload]:
    """Yield the model folder and the models; they belong to root and may only be read."""
    folder = PurePosixPath(MODEL_DIR)
    for path in (*reversed(folder.parents[:-1]), folder):
        yield Upload(path=str(path), mode=0o755, owned=False)
    for name, place in sorted(models.items()):
        yield from _plan_model(place, f"{MODEL_DIR}/{name}")


def _plan_model(path: Path, place: str) -> Iterator[Upload]:
    if path.is_dir():
        yield Upload(path=place, mode=0o555, owned=False)
        for inner in sorted(path.iterdir()):
            yield from _plan_model(inner, f"{place}/{inner.name}")
        return
    facts = path.stat()
    if stat.S_ISREG(facts.st_mode):
        yield Upload(
            path=place,
            mode=0o444,
            size=facts.st_size,
            owned=False,
            read=lambda: _read_whole(path, facts.st_size),
        )


def _read_whole(path: Path, size: int) -> Iterator[bytes]:
    left = size
    try:
        with path.open("rb") as file:
            while left and (piece := file.read(min(CHUNK, left))):
                left -= len(piece)
                yield piece
    except OSError as error:
        raise RunError(
            "run.unreadable", f"the model `{path}` can't be read: {error.strerror}"
        ) from error
    if left:
        raise RunError("run.source-changed", f"`{path}` shrank while it was being copied")
