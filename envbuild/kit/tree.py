"""The files of a folder by content: read once to name them, read again to be sure of them.

Of a file its path, its content and whether it is executable count, of a symbolic link where it
leads; not times, owners and other mode bits, in which two checkouts differ.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from envbuild.kit.canonical import CHUNK

__all__ = ["ChangedError", "Stray", "TreeFile", "digest_tree", "read_again", "read_tree"]


class ChangedError(Exception):
    """A file is not what it was when it was first read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeFile:
    """A file or symbolic link: its path below the folder (with `/`), and its content.

    The path of what is itself named as the folder is empty.
    """

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

    @property
    def mode(self) -> int:
        """Its permission bits, wherever it is written to."""
        if self.link is not None:
            return 0o777
        return 0o755 if self.executable else 0o644


@dataclass(frozen=True, kw_only=True, slots=True)
class Stray:
    """A path that can't be taken along; `why` follows its name in a message."""

    path: str
    why: str


def read_tree(folder: Path, paths: Iterable[str]) -> tuple[tuple[TreeFile, ...], tuple[Stray, ...]]:
    """Read what is at `paths` below `folder`, in the order of the paths' bytes.

    A link that stays inside `folder` is kept, as a relative one; others are strays, and so are
    pipes and devices. Raises `OSError`, with the file's name, for what can't be read.
    """
    files: list[TreeFile] = []
    strays: list[Stray] = []
    for path in sorted(paths, key=os.fsencode):
        place = folder / path
        if place.is_symlink():
            found: TreeFile | Stray = _read_link(folder, path)
        elif place.is_file() or not os.path.lexists(place):
            found = _read_file(place, path)
        else:
            found = Stray(path=path, why="is neither file nor link")
        if isinstance(found, TreeFile):
            files.append(found)
        else:
            strays.append(found)
    return tuple(files), tuple(strays)


def _read_file(place: Path, path: str) -> TreeFile:
    try:
        with place.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(place)) from error
    return TreeFile(path=path, sha256=digest, size=size, executable=bool(mode & 0o100))


def _read_link(folder: Path, path: str) -> TreeFile | Stray:
    place = folder / path
    target = str(place.readlink())
    try:
        end = place.resolve()
    except (OSError, RuntimeError):
        return Stray(path=path, why="links to itself in a circle")
    if not end.is_relative_to(folder.resolve()):
        return Stray(path=path, why=f"links to `{target}`, outside of the source folder")
    if PurePosixPath(target).is_absolute():
        target = os.path.relpath(end, place.parent.resolve())
    elif os.path.normpath(PurePosixPath(path).parent / target).split("/")[0] == "..":
        # It comes back by the name that the folder has on this machine.
        return Stray(path=path, why=f"links to `{target}`, by way of outside of the source folder")
    digest = hashlib.sha256(os.fsencode(target)).hexdigest()
    return TreeFile(path=path, sha256=digest, size=0, link=target)


def digest_tree(files: Iterable[TreeFile], *, head: str) -> str:
    """Return one digest of all of `files`, in their order.

    It is the SHA-256 of `head` in a line and, for each file, `KIND HASH PATH\\0`: KIND is `f`
    (file), `x` (executable file) or `l` (symbolic link), HASH the SHA-256 of the content or of the
    link's target. Each use has a head of its own.
    """
    text = hashlib.sha256(f"{head}\n".encode())
    for file in files:
        text.update(f"{file.kind} {file.sha256} ".encode() + os.fsencode(file.path) + b"\0")
    return f"sha256:{text.hexdigest()}"


def read_again(folder: Path, file: TreeFile) -> Iterator[bytes]:
    """Yield a file's content, exactly as it was when it was first read.

    Raises `ChangedError` at the end if it isn't, and `OSError` for what can't be read any more.
    """
    digest, left = hashlib.sha256(), file.size
    with (folder / file.path).open("rb") as source:
        while left and (piece := source.read(min(CHUNK, left))):
            digest.update(piece)
            left -= len(piece)
            yield piece
        grown = source.read(1)
    if left or grown or digest.hexdigest() != file.sha256:
        raise ChangedError
