"""Content for entries: bytes in memory, or a stretch of a file that is read when it is needed."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Final, cast

from envbuild.errors import EnvbuildError, ImageError
from envbuild.layers.entry import Body, Piece

__all__ = ["STEP", "Archive", "BombError", "Spool", "body_of_bytes", "body_of_stretch", "is_bomb"]

STEP: Final = 256 << 10
"""Bytes that are read at a time."""

_HARMLESS: Final = 256 << 20
_MOST_TIMES: Final = 250
"""Packages become 2 to 20 times as big, text full of repetitions 100 times; bombs over 1000."""


def is_bomb(size: int, plain: int) -> bool:
    """Tell whether an archive of `size` bytes is made to fill a disk with its `plain` bytes."""
    return plain > max(_HARMLESS, _MOST_TIMES * size)


class BombError(ValueError):
    """An archive unpacks to far more than any honest one of its size."""


class Archive:
    """A file that is opened when first read, and closed when nothing refers to it any more.

    It is at `path`, or open already as `handle`, which is then closed in the end. Reading by
    offset is safe from several threads at once.
    """

    def __init__(self, path: Path | None = None, *, handle: int = -1, name: str = "") -> None:
        self.name = name or (path.name if path else "")
        self._path = path
        self._handle = handle

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`; raises `ImageError("layer.cut-short")` if it ends."""
        if self._handle < 0 and self._path:
            self._handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        data = os.pread(self._handle, size, offset)
        while len(data) < size:
            more = os.pread(self._handle, size - len(data), offset + len(data))
            if not more:
                raise ImageError("layer.cut-short", f"`{self.name}` ends before its content does")
            data += more
        return data

    def stream(self, offset: int, size: int) -> Iterator[bytes]:
        """Yield `size` bytes from `offset` in steps of constant size."""
        while size > 0:
            step = min(size, STEP)
            yield self.read(offset, step)
            offset += step
            size -= step

    def __del__(self) -> None:
        # `__init__` may have failed before there was a handle.
        if getattr(self, "_handle", -1) >= 0:
            os.close(self._handle)


class Spool(Archive):
    """A temporary file without a name, to unpack into: it can be added to as well as read.

    While `packed` is an archive's size in bytes, more than any such one holds is refused. It is in
    `folder`, or where the system has such files if none is given or it can't be used.
    """

    def __init__(self, folder: Path | None, *, name: str, packed: int = 0) -> None:
        self.size = 0
        self.packed = packed
        with _open_nameless(folder) as file:
            super().__init__(handle=os.dup(file.fileno()), name=name)

    def write(self, data: bytes) -> int:
        """Add `data` at the end; raises `EnvbuildError("disk.full")` where the disk is full.

        Raises `BombError` where it becomes too much.
        """
        if self.packed and is_bomb(self.packed, self.size + len(data)):
            raise BombError(f"its {self.packed:,} bytes become more than {self.size:,}")
        left = memoryview(data)
        try:
            while left:
                written = os.pwrite(self._handle, left, self.size)
                self.size += written
                left = left[written:]
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise
            raise EnvbuildError(
                "disk.full",
                f"there is no room on the disk to unpack `{self.name}`",
                hint="free some, or set ENVBUILD_CACHE to a folder on another disk",
            ) from None
        return len(data)

    def open(self) -> IO[bytes]:
        """Return a reader of its own position, to be closed by the caller."""
        return os.fdopen(os.dup(self._handle), "rb", buffering=STEP)


def _open_nameless(folder: Path | None) -> IO[bytes]:
    try:
        return cast("IO[bytes]", tempfile.TemporaryFile(dir=folder, buffering=0))
    except OSError:
        return cast("IO[bytes]", tempfile.TemporaryFile(buffering=0))


def body_of_bytes(data: bytes) -> Body:
    """Return a body that holds `data`."""
    return partial(_piece_of_bytes, data)


def _piece_of_bytes(data: bytes) -> Piece:
    return Piece(data=iter((data,)))


def body_of_stretch(archive: Archive, offset: int, size: int) -> Body:
    """Return a body that is `size` plain bytes of `archive` from `offset`."""
    return partial(_piece_of_stretch, archive, offset, size)


def _piece_of_stretch(archive: Archive, offset: int, size: int) -> Piece:
    return Piece(data=archive.stream(offset, size))
