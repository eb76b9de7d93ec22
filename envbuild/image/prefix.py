"""The same locks as a folder on this machine: what runs where there is no container engine."""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from envbuild.errors import ImageError
from envbuild.identity.recipe import Base, Recipe
from envbuild.image.assemble import Fetch
from envbuild.image.plan import digest_image
from envbuild.image.work import read_artifact
from envbuild.kit.files import atomic_folder
from envbuild.kit.progress import Progress
from envbuild.layers.entry import Entry
from envbuild.layers.order import plan_entries
from envbuild.layers.pack import plan_layers
from envbuild.layers.skeleton import read_skeleton
from envbuild.layers.write import write_layer
from envbuild.lock.model import DebianPackage

__all__ = ["ensure_prefix", "fill_prefix", "plan_prefix"]

_DIGITS = 12


def ensure_prefix(
    recipe: Recipe, *, folder: Path, fetch: Fetch, progress: Progress, task: str
) -> Path:
    """Return `folder/<digest>`, the environment of `recipe` unpacked to run from there.

    The prefix is written into files, so each digest has a folder of its own that never moves.
    Raises what `plan_prefix` and `fill_prefix` raise.
    """
    local = plan_prefix(recipe)
    place = folder.resolve() / digest_image(local).removeprefix("sha256:")[:_DIGITS]
    if place.is_dir():
        return place
    with atomic_folder(place) as work:
        fill_prefix(local, place, work, fetch=fetch, progress=progress, task=task)
    return place


def plan_prefix(recipe: Recipe) -> Recipe:
    """Return the part of `recipe` that a prefix on this machine holds, wherever it will be.

    Debian packages and the repository's files stay out: they are the machine's own affair, and
    there already. Raises `ImageError`
    `prefix.no-python` where the environment counts on a Python that this machine hasn't.
    """
    return replace(
        recipe,
        base=Base(kind="image"),  # a machine that is there already, with users and folders
        artifacts=tuple(a for a in recipe.artifacts if not isinstance(a, DebianPackage)),
        sources=(),
        interpreter=_find_interpreter(recipe),
        prefix="",
    )


def fill_prefix(
    planned: Recipe, place: Path, work: Path, *, fetch: Fetch, progress: Progress, task: str
) -> Mapping[str, str]:
    """Unpack `planned` into the empty folder `work`, which will become `place`.

    Returns the name of the package that each file is from, by its path in the prefix. Raises
    `ImageError` for a package that can't be unpacked, and what `fetch` raises.
    """
    local = replace(planned, prefix=str(place))
    files = fetch((*local.artifacts, *local.local))
    progress.update(task, "unpacking the environment")
    owners: dict[str, str] = {}
    _unpack(plan_entries([read_skeleton(local)]), place, work)
    for number, plan in enumerate(layers := plan_layers(local), start=1):
        progress.update(task, "unpacking the environment", number, len(layers))
        groups = [
            read_artifact(
                a, files[a.sha256], prefix=local.prefix, python_minor=local.python_minor,
                link_scripts="ignore" if local.link_scripts == "ignore" else "refuse",
            )
            for a in plan.artifacts
        ]  # fmt: skip
        _unpack(plan_entries(groups), place, work)
        for artifact, entries in zip(plan.artifacts, groups, strict=True):
            owners |= {e.path[len(local.prefix) :]: artifact.name for e in entries}
    return owners


def _find_interpreter(recipe: Recipe) -> str:
    """Return this machine's Python of the locked minor version; "" where conda brings one."""
    if not recipe.interpreter:
        return ""
    name = f"python{recipe.python_minor}"
    candidates = [recipe.interpreter, shutil.which(name), *_find_pyenv(recipe.python_minor)]
    for candidate in candidates:
        if candidate and Path(candidate).is_file() and "/shims/" not in candidate:
            return candidate
    raise ImageError(
        "prefix.no-python",
        f"the environment needs Python {recipe.python_minor}, and this machine has no `{name}`",
        hint=f"install `{name}`, or let conda bring Python: add a `[conda]` table to the spec",
    )


def _find_pyenv(minor: str) -> list[str]:
    """Return the interpreters of pyenv, whose entries on PATH are scripts that may refuse."""
    found = Path.home().glob(f".pyenv/versions/{minor}.*/bin/python{minor}")
    return sorted(map(str, found), key=lambda path: [int(n) for n in re.findall(r"\d+", path)])


def _unpack(entries: Sequence[Entry], place: Path, work: Path) -> None:
    """Write the entries below `place` into `work`, through the very bytes of a layer."""
    stem = str(place).lstrip("/")
    inside = [e for e in entries if e.path.startswith(stem + "/")]
    moved = [replace(e, path=e.path[len(stem) + 1 :], link=_move_link(e, stem)) for e in inside]
    with tempfile.TemporaryFile(dir=work.parent) as blob:
        write_layer(moved, blob.write, compression="gzip")
        blob.seek(0)
        with tarfile.open(fileobj=blob, mode="r:gz") as tar:
            tar.extractall(work, filter="tar")


def _move_link(entry: Entry, stem: str) -> str:
    if entry.kind == "hardlink":
        return entry.link.removeprefix(stem + "/")
    return entry.link
