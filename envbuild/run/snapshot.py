"""A snapshot of a source folder: what exactly a run ran, under one digest.

The digest is the SHA-256 of `envbuild-snapshot 1\\n` and, for each file in the order of the
paths' bytes, `KIND HASH PATH\\0`: KIND is `f` (file), `x` (executable file) or `l` (symbolic
link), HASH the SHA-256 of the content or of the link's target. Times, owners and other mode bits
don't count. What is sent to a container or copied is hashed again on the way, so a file that
changed in between is an error and never a silent difference.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from envbuild.engine.archive import Upload
from envbuild.errors import RunError
from envbuild.kit.canonical import CHUNK
from envbuild.kit.listing import GitState, Listing, find_git_state, list_files

__all__ = ["Snapshot", "SnapshotFile", "copy_snapshot", "plan_uploads", "take_snapshot"]

LARGE: Final = 300 * 1000 * 1000
"""A snapshot above this many bytes gets a warning; data belongs elsewhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotFile:
    """A file or symbolic link: its path below the source folder (with `/`), and its content."""

    path: str
    sha256: str
    size: int
    executable: bool = False
    link: str | None = None

    @property
    def kind(self) -> str:
        if self.link is not None:
            return "l"
        return "x" if self.executable else "f"


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The files of a folder by content; `notes` are warnings for the user."""

    root: Path
    files: tuple[SnapshotFile, ...]
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
    listing = list_files(source)
    notes = [listing.note] if listing.note else []
    files = _read_files(source, listing, notes)
    if script is not None:
        _check_listed(source, script, files)
    size = sum(file.size for file in files)
    if size > LARGE:
        notes.append(f"`{source}` has {size / 1e6:.0f} MB; leave data out with `.gitignore`")
    return Snapshot(
        root=source,
        files=files,
        digest=_digest(files),
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


def _check_listed(source: Path, script: str, files: tuple[SnapshotFile, ...]) -> None:
    wanted = str(PurePosixPath(script))
    if all(file.path != wanted for file in files):
        raise RunError(
            "run.no-script",
            f"the script `{script}` is in `{source}`, but git ignores it, so no snapshot has it",
            hint=f"see which rule it is with `git check-ignore -v {script}`",
        )


def _read_files(source: Path, listing: Listing, notes: list[str]) -> tuple[SnapshotFile, ...]:
    found = []
    for path in sorted(listing.paths, key=os.fsencode):
        place = source / path
        if place.is_symlink():
            file = _read_link(source, path, notes)
        elif place.is_file():
            file = _read_file(place, path)
        else:
            notes.append(f"`{path}` is neither file nor link and was left out")
            continue
        if file is not None:
            found.append(file)
    return tuple(found)


def _read_file(place: Path, path: str) -> SnapshotFile:
    try:
        with place.open("rb") as file:
            facts = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise _unreadable(place, error) from error
    return SnapshotFile(path=path, sha256=digest, size=size, executable=bool(facts.st_mode & 0o100))


def _unreadable(place: Path, error: OSError) -> RunError:
    return RunError(
        "run.unreadable",
        f"`{place}` can't be read for the snapshot: {error.strerror}",
        hint="correct its permissions, or leave it out with `.gitignore`",
    )


def _read_link(source: Path, path: str, notes: list[str]) -> SnapshotFile | None:
    """Return a link that stays inside the folder; others are left out with a note."""
    place = source / path
    target = str(place.readlink())
    try:
        end = place.resolve()
    except (OSError, RuntimeError):
        notes.append(f"`{path}` links to itself in a circle: left out")
        return None
    if not end.is_relative_to(source.resolve()):
        notes.append(f"`{path}` links to `{target}`, outside of the source folder: left out")
        return None
    if PurePosixPath(target).is_absolute():
        target = os.path.relpath(end, place.parent.resolve())
    digest = hashlib.sha256(os.fsencode(target)).hexdigest()
    return SnapshotFile(path=path, sha256=digest, size=0, link=target)


def _digest(files: tuple[SnapshotFile, ...]) -> str:
    text = hashlib.sha256(b"envbuild-snapshot 1\n")
    for file in files:
        text.update(f"{file.kind} {file.sha256} ".encode() + os.fsencode(file.path) + b"\0")
    return f"sha256:{text.hexdigest()}"


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


def _plan_upload(snapshot: Snapshot, file: SnapshotFile, path: str) -> Upload:
    if file.link is not None:
        return Upload(path=path, mode=0o777, link=file.link)
    mode = 0o755 if file.executable else 0o644
    return Upload(path=path, mode=mode, size=file.size, read=lambda: _read_again(snapshot, file))


def _read_again(snapshot: Snapshot, file: SnapshotFile) -> Iterator[bytes]:
    """Yield a file's content, exactly as it was when the snapshot was taken."""
    place = snapshot.root / file.path
    digest, left = hashlib.sha256(), file.size
    try:
        with place.open("rb") as source:
            while left and (piece := source.read(min(CHUNK, left))):
                digest.update(piece)
                left -= len(piece)
                yield piece
            grown = source.read(1)
    except OSError as error:
        raise _unreadable(place, error) from error
    if left or grown or digest.hexdigest() != file.sha256:
        raise RunError(
            "run.source-changed",
            f"`{place}` changed while the run was being prepared",
            hint="start the run again",
        )


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
            os.fchmod(out.fileno(), 0o755 if file.executable else 0o644)
