"""Writes a layer: entries to a tar, the tar compressed and its diff ID taken, all in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

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
from envbuild.layers.plan import CHUNK, FRAME, SPLICE_BYTES, Compression
from envbuild.layers.tar import BLOCK, END, render_header
from envbuild.layers.zstd import check_encoder, pack_frame

__all__ = ["LayerFacts", "write_layer"]

_BUFFER: Final = 256 << 10
_WHOLE: Final = 128 << 10
"""Streams up to this plain size are inflated in one go: what stays in a core's cache."""

_ZEROS: Final = bytes(BLOCK)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerFacts:
    """What a written layer is besides its blob: its diff ID and its size as a plain tar."""

    diff_id: str
    plain_size: int


def write_layer(
    entries: Iterable[Entry], out: Callable[[bytes], object], *, compression: Compression
) -> LayerFacts:
    """Write `entries` in the order given to `out` as a compressed tar.

    Memory is constant, whatever the sizes. The diff ID does not depend on `compression`. Raises
    `ImageError`: `layer.bad-content` where a file's content isn't what its entry says,
    `layer.encoder` where zstd is not the pinned one, and whatever the entries' bodies raise.
    """
    if compression == "zstd":
        check_encoder()
        layer = _Layer(out, pack=pack_frame, chunk=FRAME)
    else:
        layer = _GzipLayer(out, pack=pack_member, chunk=CHUNK)
    for entry in entries:
        layer.add(entry)
    return layer.finish()


class _Layer:
    """The plain stream as it grows, and the part of it that is not packed yet."""

    def __init__(
        self, out: Callable[[bytes], object], *, pack: Callable[[memoryview], bytes], chunk: int
    ) -> None:
        self._out = out
        self._pack = pack
        self._chunk = chunk
        self._parts: list[bytes] = []
        self._waiting = 0
        self._gathered = bytearray()
        self._hash = hashlib.sha256()
        self._plain_size = 0

    def add(self, entry: Entry) -> None:
        self._gather(render_header(entry))
        size = entry.size
        if size and entry.body is not None and entry.kind == "file":
            piece = entry.body()
            try:
                if not piece.deflated:
                    self._gather_plain(entry, piece)
                elif piece.size != size:
                    raise StreamError(f"has {piece.size} bytes instead of {size}")
                else:
                    self._add_deflated(piece)
            except StreamError as error:
                raise _bad_content(entry, piece, error) from None
            if size % BLOCK:
                self._gathered += _ZEROS[size % BLOCK :]

    def finish(self) -> LayerFacts:
        self._gather(END)
        self._close_chunk()
        self._flush()
        return LayerFacts(diff_id="sha256:" + self._hash.hexdigest(), plain_size=self._plain_size)

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

    def _add_deflated(self, piece: Piece) -> None:
        if piece.size <= _WHOLE:
            self._gather(_inflate_whole(piece)[1])
            return
        for _, plain in _inflate(piece):
            self._gather(plain)

    def _gather(self, data: bytes) -> None:
        gathered = self._gathered
        gathered += data
        while len(gathered) >= self._chunk:
            self._close_chunk()

    def _close_chunk(self) -> None:
        """Pack up to a chunk of what is gathered. Where chunks end depends on content alone."""
        size = min(len(self._gathered), self._chunk)
        if size:
            with memoryview(self._gathered)[:size] as chunk:
                self._count(chunk)
                self._emit(self._pack(chunk))
            del self._gathered[:size]

    def _count(self, plain: bytes | memoryview) -> None:
        self._hash.update(plain)
        self._plain_size += len(plain)

    def _emit(self, data: bytes) -> None:
        self._parts.append(data)
        self._waiting += len(data)
        if self._waiting >= _BUFFER:
            self._flush()

    def _flush(self) -> None:
        self._out(b"".join(self._parts))
        self._parts.clear()
        self._waiting = 0


class _GzipLayer(_Layer):
    """Keeps the deflate streams of archives as they are, but for the smallest."""

    def _add_deflated(self, piece: Piece) -> None:
        if piece.size < SPLICE_BYTES:
            super()._add_deflated(piece)
            return
        self._close_chunk()
        self._emit(HEADER)
        if piece.size <= _WHOLE:
            stream, plain = _inflate_whole(piece)
            self._emit(stream)
            self._count(plain)
        else:
            for stream, plain in _inflate(piece):
                self._emit(stream)
                self._count(plain)
        self._emit(render_trailer(piece.crc32, piece.size))


def _inflate_whole(piece: Piece) -> tuple[bytes, bytes]:
    """Return the stream and the plain bytes of a piece that is not big, checked."""
    stream = b"".join(piece.data)
    plain = inflate_whole(stream, piece.size, piece.crc32)
    if piece.sha256 and hashlib.sha256(plain).digest() != piece.sha256:
        raise StreamError("has another SHA-256 than its archive's RECORD says")
    return stream, plain


def _inflate(piece: Piece) -> Iterator[tuple[bytes, bytes]]:
    """Yield a deflated piece's bytes, checked, as (stream, plain) in steps of constant size.

    A step's plain bytes need not be those that its bytes of the stream stand for.
    """
    inflater = Inflater(size=piece.size, crc32=piece.crc32)
    for stream in piece.data:
        plains = inflater.feed(stream)
        yield stream, next(plains)
        for plain in plains:
            yield b"", plain
    inflater.finish()


def _bad_content(entry: Entry, piece: Piece, error: StreamError) -> ImageError:
    return ImageError(
        "layer.bad-content",
        f"{piece.source or f'`{entry.path}`'} {error}",
        hint="the archive is not what its publisher meant it to be: tell them, "
        "or ask for another version in the spec",
    )
