"""Members of a layer's gzip stream: packed by the one pinned encoder, or spliced from a zip.

A gzip file may be several members in a row (RFC 1952, section 2.2), and a zip keeps each file as
the same raw deflate stream that a member holds. So a wheel's files go into a layer as they are,
and everything else is packed by libdeflate in chunks of a fixed size. No bytes depend on which
zlib this machine has.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import deflate
from isal import igzip_lib, isal_zlib

from envbuild.layers.plan import LEVEL

__all__ = ["HEADER", "Inflater", "StreamError", "inflate_whole", "pack_member", "render_trailer"]

HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""A member's header: deflate, no name, no time, unknown system."""

_STEP: Final = 64 << 10
"""Plain bytes that inflating gives at a time: what stays in a core's cache is hashed fastest."""


class StreamError(ValueError):
    """A deflate stream isn't what its archive's directory says."""


def render_trailer(crc32: int, size: int) -> bytes:
    """Return the end of a member whose plain content has this CRC-32 and size in bytes."""
    return struct.pack("<II", crc32, size & 0xFFFFFFFF)


def pack_member(plain: bytes | memoryview) -> bytes:
    """Return a whole member that holds `plain`, by the pinned encoder."""
    body = deflate.deflate_compress(plain, LEVEL)
    return b"".join((HEADER, body, render_trailer(isal_zlib.crc32(plain), len(plain))))


def inflate_whole(stream: bytes, size: int, crc32: int) -> bytes:
    """Return the plain content of a small stream, or raise `StreamError`, as `Inflater` does."""
    inflate = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)
    try:
        plain = inflate.decompress(stream, size + 1)
        if not inflate.eof and len(plain) == size:
            # The end of the stream may lie behind its last byte of content.
            plain += inflate.decompress(b"", 1)
    except igzip_lib.error:  # type: ignore[misc]  # the stub has it as an instance
        raise StreamError("is damaged") from None
    if len(plain) > size:
        raise StreamError("is longer than its size")
    if not inflate.eof or len(plain) < size:
        raise StreamError("is shorter than its size")
    if inflate.unused_data:
        raise StreamError("goes on after its end")
    if isal_zlib.crc32(plain) != crc32:
        raise StreamError("has another checksum")
    return plain


class Inflater:
    """Follows one deflate stream and checks that it is whole, and holds what it should.

    `feed` gives the plain content piece by piece; `finish` raises `StreamError` unless the stream
    ended exactly where its bytes did, with the given size and CRC-32.
    """

    def __init__(self, *, size: int, crc32: int) -> None:
        self._inflate = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)
        self._left = size
        self._wanted = crc32
        self._crc32 = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the plain bytes that `data`, the next bytes of the stream, stands for."""
        if self._inflate.eof and data:
            raise StreamError("goes on after its end")
        while True:
            try:
                plain = self._inflate.decompress(data, _STEP)
            except igzip_lib.error:  # type: ignore[misc]  # the stub has it as an instance
                raise StreamError("is damaged") from None
            self._left -= len(plain)
            if self._left < 0:
                raise StreamError("is longer than its size")
            self._crc32 = isal_zlib.crc32(plain, self._crc32)
            yield plain
            if self._inflate.eof or self._inflate.needs_input:
                return
            data = b""

    def finish(self) -> None:
        """Raise `StreamError` if the stream isn't whole."""
        if not self._inflate.eof or self._left:
            raise StreamError("is shorter than its size")
        if self._inflate.unused_data:
            raise StreamError("goes on after its end")
        if self._crc32 != self._wanted:
            raise StreamError("has another checksum")
