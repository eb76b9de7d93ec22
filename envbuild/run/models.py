"""The model folder of a service: which files go there, and how they get there."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from envbuild.engine.archive import Upload
from envbuild.errors import RunError
from envbuild.kit.canonical import CHUNK, digest_file
from envbuild.run.record import RunFolder, find_latest

__all__ = ["MODEL_DIR", "digest_model", "find_models", "plan_model_uploads"]

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


def digest_model(path: Path) -> str:
    """Return the digest of a model's file, or of the names and contents in a model's folder.

    Raises `RunError("run.unreadable")`.
    """
    text = hashlib.sha256()
    for place, is_folder in _walk(path):
        name = os.fsencode(place.relative_to(path))
        said = "folder" if is_folder else _digest_file(place)
        text.update(f"{said} {len(name)} ".encode() + name)
    return f"sha256:{text.hexdigest()}"


def _digest_file(path: Path) -> str:
    try:
        return digest_file(path)
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from error


def plan_model_uploads(models: Mapping[str, Path]) -> Iterator[Upload]:
    """Yield the model folder and the models; they belong to root and may only be read."""
    yield Upload(path=MODEL_DIR, mode=0o755, owned=False)
    for name, path in sorted(models.items()):
        for place, is_folder in _walk(path):
            target = str(PurePosixPath(MODEL_DIR, name, place.relative_to(path)))
            yield _plan_folder(target) if is_folder else _plan_file(place, target)


def _plan_folder(target: str) -> Upload:
    return Upload(path=target, mode=0o555, owned=False)


def _plan_file(path: Path, target: str) -> Upload:
    size = path.stat().st_size
    return Upload(
        path=target, mode=0o444, size=size, owned=False, read=lambda: _read_whole(path, size)
    )


def _walk(path: Path, within: frozenset[Path] = frozenset()) -> Iterator[tuple[Path, bool]]:
    """Yield the files and folders of a model, each with whether it is a folder, parents first.

    Links are followed, as model caches are made of them; pipes and the like are left out.
    """
    try:
        mode = path.stat().st_mode
        inner = sorted(path.iterdir()) if stat.S_ISDIR(mode) else []
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from error
    if stat.S_ISREG(mode):
        yield path, False
    elif stat.S_ISDIR(mode):
        real = path.resolve()
        if real in within:
            raise _unreadable(path, "it links to a folder that it is in")
        yield path, True
        for place in inner:
            yield from _walk(place, within | {real})


def _unreadable(path: Path, why: str) -> RunError:
    what = "the link" if path.is_symlink() else "the model"
    return RunError(
        "run.unreadable",
        f"{what} `{path}` can't be read: {why}",
        hint="correct it, or name only what the service needs in `smoke.models`",
    )


def _read_whole(path: Path, size: int) -> Iterator[bytes]:
    left = size
    try:
        with path.open("rb") as file:
            while left and (piece := file.read(min(CHUNK, left))):
                left -= len(piece)
                yield piece
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from error
    if left:
        raise RunError("run.source-changed", f"`{path}` shrank while it was being copied")
