"""Writes a layer: entries to a tar, the tar to gzip, both hashed, all in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from isal.isal_zlib import crc32

from envbuild.errors import ImageError
from envbuild.layers.entry import Entry, Piece
from envbuild.layers.gzip import (
    HEADER,
    Inflater,
    StreamError,
    inflate_whole,
    pack_member,
    render_trailer,
)
from envbuild.layers.plan import CHUNK, SPLICE_BYTES
from envbuild.layers.tar import END, padding, render_header

__all__ = ["LayerFacts", "write_layer"]

_BUFFER = 256 << 10


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerFacts:
    """What a written layer is: its diff ID and size as a tar, its digest and size as a blob."""

    diff_id: str
    plain_size: int
    digest: str
    size: int


def write_layer(entries: Iterable[Entry], out: Callable[[bytes], object]) -> LayerFacts:
    """Write `entries` in the order given to `out` as a gzip-compressed tar.

    Memory is constant, whatever the sizes. Raises `ImageError`: `layer.bad-content` where a
    file's content isn't what its entry says, and whatever the entries' bodies raise.
    """
    layer = _Layer(out)
    for entry in entries:
        layer.add(entry)
    return layer.finish()


class _Layer:
    """The plain stream as it grows, the part of it that is not packed yet, and both hashes."""

    def __init__(self, out: Callable[[bytes], object]) -> None:
        self._out = out
        self._parts: list[bytes] = []
        self._waiting = 0
        self._gathered = bytearray()
        self._plain_hash = hashlib.sha256()
        self._plain_size = 0
        self._hash = hashlib.sha256()
        self._size = 0

    def add(self, entry: Entry) -> None:
        self._gather(render_header(entry))
        if entry.kind == "file" and entry.body is not None and entry.size:
            self._add_body(entry, entry.body())
            self._gather(padding(entry.size))

    def finish(self) -> LayerFacts:
        self._gather(END)
        self._pack()
        self._flush()
        return LayerFacts(
            diff_id="sha256:" + self._plain_hash.hexdigest(),
            plain_size=self._plain_size,
            digest="sha256:" + self._hash.hexdigest(),
            size=self._size,
        )

    def _add_body(self, entry: Entry, piece: Piece) -> None:
        try:
            if not piece.deflated:
                self._gather_plain(entry, piece)
            elif piece.size != entry.size:
                raise StreamError(f"has {piece.size} bytes instead of {entry.size}")
            elif piece.size < SPLICE_BYTES:
                self._gather_small(piece)
            else:
                self._splice(piece)
        except StreamError as error:
            raise _bad_content(entry, piece, error) from None

    def _gather_plain(self, entry: Entry, piece: Piece) -> None:
        left, checksum = entry.size, 0
        for data in piece.data:
            left -= len(data)
            if left < 0:
                break
            if piece.size:
                checksum = crc32(data, checksum)
            self._gather(data)
        if left:
            raise StreamError(f"does not have its {entry.size} bytes")
        if piece.size and checksum != piece.crc32:
            raise StreamError("has another checksum")

    def _gather_small(self, piece: Piece) -> None:
        plain = inflate_whole(b"".join(piece.data), piece.size, piece.crc32)
        if piece.sha256 and hashlib.sha256(plain).digest() != piece.sha256:
            raise StreamError("has another SHA-256 than its archive's RECORD says")
        self._gather(plain)

    def _gather(self, data: bytes) -> None:
        self._gathered += data
        while len(self._gathered) >= CHUNK:
            self._pack()

    def _pack(self) -> None:
        """Pack up to a chunk of what is gathered. Where chunks end depends on content alone."""
        size = min(len(self._gathered), CHUNK)
        if size:
            with memoryview(self._gathered)[:size] as chunk:
                self._count(chunk)
                self._emit(pack_member(chunk))
            del self._gathered[:size]

    def _splice(self, piece: Piece) -> None:
        self._pack()
        self._emit(HEADER)
        inflater = Inflater(size=piece.size, crc32=piece.crc32)
        for data in piece.data:
            self._emit(data)
            for plain in inflater.feed(data):
                self._count(plain)
        inflater.finish()
        self._emit(render_trailer(piece.crc32, piece.size))

    def _count(self, plain: bytes | memoryview) -> None:
        self._plain_hash.update(plain)
        self._plain_size += len(plain)

    def _emit(self, data: bytes) -> None:
        self._parts.append(data)
        self._waiting += len(data)
        if self._waiting >= _BUFFER:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._parts)
        self._hash.update(data)
        self._size += len(data)
        self._out(data)
        self._parts.clear()
        self._waiting = 0


def _bad_content(entry: Entry, piece: Piece, error: StreamError) -> ImageError:
    return ImageError(
        "layer.bad-content",
        f"{piece.source or f'`{entry.path}`'} {error}",
        hint="the archive is not what its publisher meant it to be: tell them, "
        "or ask for another version in the spec",
    )
