"""Content for entries: bytes in memory, or a stretch of a file that is read when it is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from envbuild.errors import ImageError
from envbuild.layers.entry import Body, Piece

__all__ = ["Archive", "body_of_bytes", "body_of_stretch"]

_STEP: Final = 256 << 10


class Archive:
    """A file that is opened when first read, and closed when nothing refers to it any more.

    Reading by offset is safe from several threads at once.
    """

    def __init__(self, path: Path | None = None, *, handle: int = -1, name: str = "") -> None:
        self._path = path
        self._handle = handle
        self.name = name or (path.name if path else "")

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`; raises `ImageError("layer.cut-short")` if it ends."""
        if self._handle < 0 and self._path is not None:
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
            step = min(size, _STEP)
            yield self.read(offset, step)
            offset += step
            size -= step

    def __del__(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)


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
