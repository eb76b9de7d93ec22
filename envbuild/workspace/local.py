"""An environment as a folder to work in, made from its lock: renewed as a whole, and provable.

`.envbuild/envs/NAME` is a link to a generation, a prefix in the cache that is never changed by
envbuild once it is there. An update makes the next generation beside it and moves the link last;
the one before stays until the next update, for what still runs in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from envbuild.errors import ImageError
from envbuild.identity.recipe import Recipe
from envbuild.image.activation import write_activation
from envbuild.image.assemble import Fetch
from envbuild.image.files import Supply, fetch_artifacts
from envbuild.image.plan import ImagePlan, digest_image
from envbuild.image.prefix import fill_prefix, plan_prefix
from envbuild.image.prefix_files import FileChange, PrefixFile, find_file_changes, list_prefix
from envbuild.kit.files import atomic_folder, exclusive, remove_abandoned
from envbuild.kit.progress import Progress
from envbuild.workspace.local_report import Difference, explain_changes
from envbuild.workspace.workspace import Workspace

__all__ = ["LocalEnv", "check_local", "ensure_local", "make_fetch", "plan_local"]

_NOTE: Final = "envbuild.json"
"""In each generation: what it was made from, and all of its files."""

_STAY: Final = (
    "# A Python that was started through a link stays in the environment that it started in.\n"
    "import os, sys; sys.path[:] = "
    "[os.path.realpath(p) if p.startswith(sys.prefix) else p for p in sys.path]\n"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalEnv:
    """One environment on this machine: the link to it, and what it shall hold.

    `home` has its generations; `digest` names what the lock asks for here.
    """

    name: str
    link: Path
    home: Path
    recipe: Recipe
    digest: str

    @property
    def prefix(self) -> Path | None:
        """The generation that the link leads to; None if there is none."""
        place = self.link.resolve()
        return place if place.parent == self.home and (place / _NOTE).is_file() else None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Note:
    digest: str
    files: dict[str, PrefixFile]


def plan_local(workspace: Workspace, image: ImagePlan, *, link: Path | None = None) -> LocalEnv:
    """Return what the environment of `image` is on this machine.

    Raises what `plan_prefix` raises, and `ImageError`: `prefix.occupied` if something else than a
    link of envbuild's is at `link` (default: `.envbuild/envs/NAME`), `prefix.user-managed`.
    """
    # `Path.resolve` would follow the link itself.
    place = Path(os.path.abspath(link or workspace.repository.envs / image.name))  # noqa: PTH100
    key = hashlib.sha256(f"{workspace.root.resolve()}\0{image.name}\0{place}".encode())
    home = workspace.cache.local.resolve() / key.hexdigest()[:10]
    if os.path.lexists(place) and not (place.is_symlink() and place.readlink().parent == home):
        raise ImageError(
            "prefix.occupied",
            f"`{place}` is there already, and envbuild didn't make it for `{image.name}`",
            hint=f"remove it, or name another place: `nox -s local-env -- {image.name} --path DIR`",
        )
    if not image.recipe.managed:
        raise ImageError(
            "prefix.user-managed",
            f"all packages of `{image.name}` are those of its base, so none are locked for here",
            hint=f"work in its image: `nox -s train -- {image.name}`",
        )
    recipe = plan_prefix(image.recipe)
    return LocalEnv(
        name=image.name, link=place, home=home, recipe=recipe, digest=digest_image(recipe)
    )


def make_fetch(workspace: Workspace, image: ImagePlan, progress: Progress) -> Fetch:
    """Return what gets the packages of `image` onto this machine."""
    supply = Supply(
        spec=image.spec, platform=image.recipe.platform, python_minor=image.recipe.python_minor,
        settings=workspace.settings, cache=workspace.cache, provenance=image.provenance,
    )  # fmt: skip
    return lambda artifacts: fetch_artifacts(
        artifacts, supply=supply, progress=progress, task=image.name
    )


def ensure_local(env: LocalEnv, *, fetch: Fetch, progress: Progress) -> str:
    """Make sure that the link leads to what the lock says; return what that took.

    `up to date`, `made`, `updated` (the lock changed), or `repaired` (somebody changed files). On
    any error, and on Ctrl-C, the environment stays as it was. Raises what `fill_prefix` raises.
    """
    with exclusive(
        env.home / "lock", waiting=lambda: progress.update(env.name, "waiting for another process")
    ):
        before = env.prefix
        note = _read_note(before) if before else None
        if before and note and note.digest == env.digest:
            if not _find_changes(before, note, thorough=False):
                return "up to date"
            outcome = "repaired"
        else:
            outcome = "updated" if before else "made"
        remove_abandoned(env.home)
        made = _make(env, fetch=fetch, progress=progress)
        _move_link(env.link, made)
        for old in _list_generations(env.home):
            if old not in {made, before}:
                shutil.rmtree(old, ignore_errors=True)
    return outcome


def check_local(env: LocalEnv) -> tuple[int, tuple[Difference, ...]]:
    """Return how many files were read, and every difference to what the lock says.

    Raises `ImageError`: `prefix.missing` if it was never made, `prefix.outdated` if it was made
    from another lock.
    """
    hint = f"run `nox -s local-env -- {env.name}`"
    note = _read_note(env.prefix) if env.prefix else None
    if env.prefix is None or note is None:
        raise ImageError("prefix.missing", f"there is no environment at `{env.link}`", hint=hint)
    if note.digest != env.digest:
        raise ImageError(
            "prefix.outdated", f"`{env.link}` was made from another lock of `{env.name}`", hint=hint
        )
    changes = _find_changes(env.prefix, note, thorough=True)
    locked = {a.name: a.version for a in (*env.recipe.artifacts, *env.recipe.local)}
    return len(note.files), explain_changes(env.prefix, changes, locked=locked)


def _make(env: LocalEnv, *, fetch: Fetch, progress: Progress) -> Path:
    numbers = [int(place.name) for place in _list_generations(env.home)]
    place = env.home / str(max(numbers, default=0) + 1)
    with atomic_folder(place) as work:
        owners = fill_prefix(env.recipe, place, work, fetch=fetch, progress=progress, task=env.name)
        write_activation(work, prefix=place, name=env.name)
        if env.recipe.python_minor:
            packages = work / "lib" / f"python{env.recipe.python_minor}" / "site-packages"
            packages.mkdir(parents=True, exist_ok=True)
            (packages / "_envbuild.pth").write_text(_STAY)
        progress.update(env.name, "listing its files")
        files = {path: asdict(file) for path, file in list_prefix(work, owners).items()}
        (work / _NOTE).write_text(json.dumps({"digest": env.digest, "files": files}))
    return place


def _read_note(prefix: Path) -> _Note | None:
    """Return what a generation was made from; None if somebody damaged the note."""
    try:
        data = json.loads((prefix / _NOTE).read_bytes())
        files = {path: PrefixFile(**file) for path, file in data["files"].items()}
        return _Note(digest=data["digest"], files=files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _find_changes(prefix: Path, note: _Note, *, thorough: bool) -> tuple[FileChange, ...]:
    """Return what differs, apart from the note, which can't list itself."""
    changes = find_file_changes(prefix, note.files, thorough=thorough)
    return tuple(change for change in changes if change.path != _NOTE)


def _move_link(link: Path, target: Path) -> None:
    """Have `link` lead to `target` from one moment to the next."""
    link.parent.mkdir(parents=True, exist_ok=True)
    part = link.with_name(f".{link.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    part.replace(link)


def _list_generations(home: Path) -> list[Path]:
    return [place for place in home.iterdir() if place.name.isdigit()]
