"""What a container changed in its file system, as a layer's plain tar.

The engine names the changed paths (`GET /containers/ID/changes`) and hands out their content; the
tar has times and owners like every layer of ours, so equal changes give equal bytes. What is gone
is a whiteout (OCI image specification 1.1, `layer.md`).
"""

from __future__ import annotations

import io
import posixpath
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from envbuild.engine.client import Engine, explained
from envbuild.engine.outputs import open_archive

__all__ = ["Change", "list_changes", "write_difference"]

_ADDED: Final = 1
_DELETED: Final = 2
_BLOCK: Final = 512
_PIECE: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One changed path, absolute: `modified`, `added` or `deleted`.

    Of a folder that is added, what is in it is listed, too.
    """

    path: str
    kind: str


def list_changes(engine: Engine, container: str) -> tuple[Change, ...]:
    """Return what the container changed, sorted; folders that only hold a change are left out."""
    with explained("say what the container changed", address=engine.address):
        api: Any = engine.client.api
        found = api.diff(container) or []
    kinds = {0: "modified", _ADDED: "added", _DELETED: "deleted"}
    holders = {str(parent) for row in found for parent in _list_parents(row["Path"])}
    return tuple(
        sorted(
            (
                Change(path=row["Path"], kind=kinds[row["Kind"]])
                for row in found
                if row["Kind"] or row["Path"] not in holders
            ),
            key=lambda change: change.path,
        )
    )


def _list_parents(path: str) -> Iterator[str]:
    while (path := posixpath.dirname(path)) != "/":
        yield path


@dataclass(slots=True)
class _Difference:
    """Members of the tar by path, and where in `spool` the content of the files is."""

    spool: IO[bytes]
    members: dict[str, tuple[tarfile.TarInfo, int]] = field(default_factory=dict)

    def add(self, path: str, info: tarfile.TarInfo, offset: int = 0) -> None:
        info.name = path.lstrip("/")
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = 0
        info.pax_headers = {}
        self.members[info.name] = (info, offset)

    def add_folder(self, path: str) -> None:
        info = tarfile.TarInfo()
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        self.add(path, info)


def write_difference(
    engine: Engine, container: str, changes: Sequence[Change], target: IO[bytes], *, work: Path
) -> None:
    """Write the changes as a plain tar into `target`; equal changes give equal bytes.

    Modes are 0755 for folders and for what is executable, else 0644; hard links are files of their
    own; pipes, sockets and devices are left out. A change of a folder's mode or owner alone is no
    change. `work` is a folder for temporary files.
    """
    with tempfile.TemporaryFile(dir=work) as spool:
        difference = _Difference(spool)
        taken = ""
        for change in changes:
            if taken and change.path.startswith(f"{taken}/"):
                continue  # its folder is new or gone, and brought or took it
            if change.kind == "deleted":
                folder, name = posixpath.split(change.path)
                info = tarfile.TarInfo()
                info.mode = 0o644
                difference.add(f"{folder}/.wh.{name}", info)
                taken = change.path
            else:
                _fetch(engine, container, change, difference)
                taken = change.path if change.kind == "added" else ""
        for name in list(difference.members):
            for parent in _list_parents(f"/{name}"):
                if parent.lstrip("/") not in difference.members:
                    difference.add_folder(parent)
        _write(difference, target)


def _fetch(engine: Engine, container: str, change: Change, difference: _Difference) -> None:
    with (
        explained(f"hand out `{change.path}`", address=engine.address),
        open_archive(engine.client, container, change.path) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        folder = posixpath.dirname(change.path)
        for member in tar:
            if change.kind == "modified" and member.isdir():
                return  # what changed in it is listed by itself
            _take(tar, member, folder, difference)


def _take(
    tar: tarfile.TarFile, member: tarfile.TarInfo, folder: str, difference: _Difference
) -> None:
    path = posixpath.normpath(posixpath.join(folder, member.name))
    if member.isdir():
        difference.add_folder(path)
    elif member.issym():
        info = tarfile.TarInfo()
        info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, member.linkname
        difference.add(path, info)
    elif member.islnk():
        twin = posixpath.normpath(posixpath.join(folder, member.linkname)).lstrip("/")
        if twin in difference.members:
            info, offset = difference.members[twin]
            copy = tarfile.TarInfo()
            copy.size, copy.mode = info.size, info.mode
            difference.add(path, copy, offset)
    elif member.isreg():
        info = tarfile.TarInfo()
        info.size, info.mode = member.size, 0o755 if member.mode & 0o111 else 0o644
        offset = difference.spool.seek(0, io.SEEK_END)
        source = tar.extractfile(member)
        while source is not None and (piece := source.read(_PIECE)):
            difference.spool.write(piece)
        difference.add(path, info, offset)


def _write(difference: _Difference, target: IO[bytes]) -> None:
    for name in sorted(difference.members):
        info, offset = difference.members[name]
        target.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        left = info.size if info.isreg() else 0
        difference.spool.seek(offset)
        while left and (piece := difference.spool.read(min(_PIECE, left))):
            target.write(piece)
            left -= len(piece)
        if info.isreg():
            target.write(bytes(-info.size % _BLOCK))
    target.write(bytes(2 * _BLOCK))
