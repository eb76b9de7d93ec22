"""A snapshot of a source folder: what exactly a run ran, under one digest.

The digest is that of `kit.tree.digest_tree`. What is sent to a container or copied is hashed again
on the way, so a file that changed in between is an error and never a silent difference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from envbuild.engine.archive import Upload
from envbuild.errors import RunError
from envbuild.kit.listing import GitState, find_git_state, list_files
from envbuild.kit.tree import ChangedError, TreeFile, digest_tree, read_again, read_tree

__all__ = ["Snapshot", "copy_snapshot", "plan_uploads", "take_snapshot"]

LARGE: Final = 300 * 1000 * 1000
"""A snapshot above this many bytes gets a warning; data belongs elsewhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The files of a folder by content; `notes` are warnings for the user."""

    root: Path
    files: tuple[TreeFile, ...]
    digest: str
    size: int
    git: GitState | None
    notes: tuple[str, ...] = ()


def take_snapshot(source: Path, *, script: str | None = None) -> Snapshot:
    """Read the source folder (see `list_files` for what belongs to it).

    `script` must be among the files. Raises `RunError`: `run.no-source`, `run.no-script`,
    `run.unreadable` (a file that this user may not read).
    """
    if not source.is_dir():
        raise RunError(
            "run.no-source",
            f"the source folder `{source}` doesn't exist",
            hint="correct `source` in the spec",
        )
    if script is not None:
        _check_there(source, script)
    try:
        listing = list_files(source)
        files, strays = read_tree(source, listing.paths)
    except OSError as error:
        raise _unreadable(Path(str(error.filename or source)), error) from error
    notes = [f"{listing.note}: what it would ignore is in the snapshot"] if listing.note else []
    notes += [f"`{stray.path}` {stray.why}: left out" for stray in strays]
    if script is not None:
        _check_listed(source, script, files)
    size = sum(file.size for file in files)
    if size > LARGE:
        notes.append(f"`{source}` has {size / 1e6:.0f} MB; leave data out with `.gitignore`")
    return Snapshot(
        root=source,
        files=files,
        digest=digest_tree(files, head="envbuild-snapshot 1"),
        size=size,
        git=find_git_state(source) if listing.git else None,
        notes=tuple(notes),
    )


def _check_there(source: Path, script: str) -> None:
    if not (source / script).is_file():
        what = "is a folder" if (source / script).is_dir() else "doesn't exist"
        raise RunError(
            "run.no-script",
            f"the script `{script}` {what} in the source folder `{source}`",
            hint="correct the script's name or `source` in the spec",
        )


def _check_listed(source: Path, script: str, files: tuple[TreeFile, ...]) -> None:
    wanted = str(PurePosixPath(script))
    if all(file.path != wanted for file in files):
        raise RunError(
            "run.no-script",
            f"the script `{script}` is in `{source}`, but git ignores it, so no snapshot has it",
            hint=f"see which rule it is with `git check-ignore -v {script}`",
        )


def _unreadable(place: Path, error: OSError) -> RunError:
    return RunError(
        "run.unreadable",
        f"`{place}` can't be read for the snapshot: {error.strerror}",
        hint="correct its permissions, or leave it out with `.gitignore`",
    )


def plan_uploads(snapshot: Snapshot, folder: str) -> Iterator[Upload]:
    """Yield the snapshot's entries below `folder` of a container, that folder first."""
    yield Upload(path=folder, mode=0o755)
    made: set[PurePosixPath] = set()
    for file in snapshot.files:
        for parent in reversed(PurePosixPath(file.path).parents[:-1]):
            if parent not in made:
                made.add(parent)
                yield Upload(path=f"{folder}/{parent}", mode=0o755)
        yield _plan_upload(snapshot, file, f"{folder}/{file.path}")


def _plan_upload(snapshot: Snapshot, file: TreeFile, path: str) -> Upload:
    if file.link is not None:
        return Upload(path=path, mode=file.mode, link=file.link)
    return Upload(
        path=path, mode=file.mode, size=file.size, read=lambda: _read_again(snapshot, file)
    )


def _read_again(snapshot: Snapshot, file: TreeFile) -> Iterator[bytes]:
    """Yield a file's content, exactly as it was when the snapshot was taken."""
    place = snapshot.root / file.path
    try:
        yield from read_again(snapshot.root, file)
    except OSError as error:
        raise _unreadable(place, error) from error
    except ChangedError:
        raise RunError(
            "run.source-changed",
            f"`{place}` changed while the run was being prepared",
            hint="start the run again",
        ) from None


def copy_snapshot(snapshot: Snapshot, folder: Path) -> None:
    """Copy the snapshot's files into the existing `folder`. Raises `run.source-changed`."""
    for file in snapshot.files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.link is not None:
            target.symlink_to(file.link)
            continue
        with target.open("wb") as out:
            for piece in _read_again(snapshot, file):
                out.write(piece)
            os.fchmod(out.fileno(), file.mode)
