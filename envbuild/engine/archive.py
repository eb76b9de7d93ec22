"""Tar streams to and from a container: made while they are sent, unpacked without trust.

Unpacking trusts nothing: members go to plain files below one folder, names that lead out of it
are refused, and links are made last of all, so that nothing is ever written through one.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Final

__all__ = ["Upload", "render_tar", "unpack_tar"]

_BLOCK: Final = 512
_END: Final = bytes(2 * _BLOCK)


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """One entry to put into a container: a folder, a file, or a symbolic link.

    `path` is absolute in the container; `mode` its permission bits. A file has `read`, which
    gives its content in pieces, exactly `size` bytes; a link has `link`, its target; a folder has
    neither. `owned` entries belong to the container's user, the others to root.
    """

    path: str
    mode: int = 0o644
    size: int = 0
    read: Callable[[], Iterator[bytes]] | None = None
    link: str | None = None
    owned: bool = True


def render_tar(uploads: Iterable[Upload], *, uid: int, gid: int) -> Iterator[bytes]:
    """Yield a tar (POSIX pax) of the entries in their order; one piece of a file at a time."""
    for upload in uploads:
        yield _header(upload, uid=uid, gid=gid)
        if upload.read is not None:
            yield from upload.read()
            yield bytes(-upload.size % _BLOCK)
    yield _END


def _header(upload: Upload, *, uid: int, gid: int) -> bytes:
    info = tarfile.TarInfo(upload.path.lstrip("/"))
    info.mode = upload.mode
    if upload.owned:
        info.uid, info.gid = uid, gid
    if upload.link is not None:
        info.type, info.linkname = tarfile.SYMTYPE, upload.link
    elif upload.read is not None:
        info.size = upload.size
    else:
        info.type = tarfile.DIRTYPE
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


@dataclass(slots=True)
class _Unpacking:
    """What is known while a tar is unpacked: where to, what files are there, what is put off."""

    folder: Path
    files: set[Path] = field(default_factory=set)
    links: list[tuple[Path, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def unpack_tar(source: IO[bytes], folder: Path) -> tuple[str, ...]:
    """Unpack a tar stream below `folder`; return a note for every member that was left out.

    Files keep their execute bit and nothing else of their mode; owners and times are this
    user's and now. Left out: devices, pipes, sockets, names with `..`, links that lead out of
    `folder`. Raises `tarfile.TarError` or `OSError` for a stream that breaks off.
    """
    work = _Unpacking(folder=folder)
    with tarfile.open(fileobj=source, mode="r|", errorlevel=1) as tar:
        for member in tar:
            _unpack_member(tar, member, work)
    for path, name, target in work.links:
        _make_link(path, name, target, work)
    return tuple(work.notes)


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, work: _Unpacking) -> None:
    path = _place(member.name, work.folder)
    if path is None:
        work.notes.append(f"`{member.name}` was left out: its name leads out of the folder")
    elif member.isdir():
        path.mkdir(parents=True, exist_ok=True)
    elif member.isreg():
        _write_file(tar.extractfile(member), path, executable=bool(member.mode & 0o100))
        work.files.add(path)
    elif member.islnk():
        _copy_twin(member, path, work)
    elif member.issym():
        work.links.append((path, member.name, member.linkname))
    else:
        work.notes.append(f"`{member.name}` was left out: it is neither file, folder nor link")


def _place(name: str, folder: Path) -> Path | None:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\0" in name:
        return None
    return folder.joinpath(*parts)


def _write_file(source: IO[bytes] | None, path: Path, *, executable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        if source is not None:
            shutil.copyfileobj(source, file, 1 << 20)
        os.fchmod(file.fileno(), 0o755 if executable else 0o644)


def _copy_twin(member: tarfile.TarInfo, path: Path, work: _Unpacking) -> None:
    """Make a hard link a file of its own, from the file that came before it."""
    twin = _place(member.linkname, work.folder)
    if twin is None or twin not in work.files:
        work.notes.append(f"`{member.name}` was left out: it links to a file that isn't collected")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(twin, path)
    work.files.add(path)


def _make_link(path: Path, name: str, target: str, work: _Unpacking) -> None:
    """Make a symbolic link if its target, taken by its text alone, stays inside the folder."""
    inside = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if inside == ".." or inside.startswith(("/", "../")):
        work.notes.append(f"`{name}` was left out: it links to `{target}` outside of the outputs")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.resolve().is_relative_to(work.folder.resolve()):
        work.notes.append(f"`{name}` was left out: its folder is a link out of the outputs")
        return
    if path.is_symlink() or path.exists():
        work.notes.append(f"`{name}` was left out: there is something of that name already")
        return
    path.symlink_to(target)
