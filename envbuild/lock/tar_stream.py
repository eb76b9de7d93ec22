"""Reads a compressed tar as it comes in, in pieces of any size, and keeps none of it on disk.

Formats: POSIX ustar and pax, GNU's long names and sparse files; gzip (several members), zstd
(several frames) or plain, told apart by the first bytes.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Generator
from typing import Final, Protocol

from envbuild.errors import ImageError

__all__ = ["Member", "TarStream"]

Member = tarfile.TarInfo
"""A member's header: name, type, mode, size and link target, long names in place."""

_BLOCK: Final = 512
_LONGEST: Final = 1 << 20
"""Bytes of a header that describes the next one; names are not longer."""

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


class _Decoder(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


class TarStream:
    """Takes a layer's bytes by `write` and tells its members, each with its body if wanted.

    `wants` says whether a member's body is to be kept until it is told to `tell`; other bodies are
    passed over. `finish` says that all has come. Raises `ImageError` `base.damaged`.
    """

    def __init__(
        self, wants: Callable[[Member], bool], tell: Callable[[Member, bytes], object]
    ) -> None:
        self._wants = wants
        self._tell = tell
        self._reader = self._read()
        self._missing = next(self._reader)  # > 0: bytes to collect; < 0: bytes to pass over
        self._kept = bytearray()
        self._done = False
        self._open: Callable[[], _Decoder] | None = None
        self._decoder: _Decoder | None = None
        self._head = b""

    def write(self, data: bytes) -> int:
        """Take the next piece and return its length."""
        if self._decoder is None and self._open is None:
            self._head += data
            if len(self._head) < len(_ZSTD):
                return len(data)
            piece, self._head = self._head, b""
            self._open = _choose(piece)
            self._decode(piece)
        else:
            self._decode(data)
        return len(data)

    def finish(self) -> None:
        """Make sure that the archive did not end in the middle of a member."""
        if not self._done and (self._kept or self._missing != _BLOCK):
            raise _damaged("it ends in the middle")

    def _decode(self, data: bytes) -> None:
        if self._open is None:
            return
        try:
            while data and not self._done:
                if self._decoder is None:
                    if not data.strip(b"\0"):
                        return  # gzip files may be padded
                    self._decoder = self._open()
                self._feed(self._decoder.decompress(data))
                data = b""
                if self._decoder.eof:
                    data, self._decoder = self._decoder.unused_data, None
        except ImageError:
            raise
        except Exception as error:
            # zlib and zstandard have errors of their own, without a common class.
            raise _damaged(str(error)) from error

    def _feed(self, data: bytes) -> None:
        place = 0
        view = memoryview(data)
        while place < len(view) and not self._done:
            if self._missing < 0:
                step = min(-self._missing, len(view) - place)
                self._missing += step
                place += step
                if self._missing == 0:
                    self._advance(b"")
                continue
            step = min(self._missing - len(self._kept), len(view) - place)
            self._kept += view[place : place + step]
            place += step
            if len(self._kept) == self._missing:
                piece = bytes(self._kept)
                self._kept.clear()
                self._advance(piece)

    def _advance(self, piece: bytes) -> None:
        try:
            self._missing = self._reader.send(piece)
        except StopIteration:
            self._done = True

    def _read(self) -> Generator[int, bytes, None]:
        """Yield how many bytes are wanted (or, negative, of no interest), and get them."""
        described: dict[str, str] = {}
        while True:
            block = yield _BLOCK
            if not block.strip(b"\0"):
                return  # the first empty block ends an archive
            member = _parse_header(block)
            while member.type == tarfile.GNUTYPE_SPARSE and block[482]:
                block = yield _BLOCK
                block = block[:482] + block[504:505] + block[483:]
            if member.type in b"xgLK":
                body = yield from self._collect(member.size, _LONGEST)
                if member.type != b"g":
                    described |= _describe(member.type, body)
                continue
            _apply(member, described)
            described = {}
            has_body = member.isreg() or member.type not in tarfile.SUPPORTED_TYPES
            size = member.size if has_body else 0
            if size and self._wants(member):
                self._tell(member, (yield from self._collect(size, size)))
                continue
            if size:
                yield -_padded(size)
            self._tell(member, b"")

    def _collect(self, size: int, most: int) -> Generator[int, bytes, bytes]:
        if size > most:
            raise _damaged("a name in it is too long")
        body = (yield _padded(size)) if size else b""
        return body[:size]


def _choose(head: bytes) -> Callable[[], _Decoder]:
    if head.startswith(_GZIP):
        return lambda: zlib.decompressobj(31)
    if head.startswith(_ZSTD):
        import zstandard

        return lambda: zstandard.ZstdDecompressor().decompressobj()
    return _Plain


class _Plain:
    eof = False
    unused_data = b""

    def decompress(self, data: bytes, /) -> bytes:
        return data


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _parse_header(block: bytes) -> Member:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise _damaged(str(error)) from error


def _describe(kind: bytes, body: bytes) -> dict[str, str]:
    """Return what an extended header says of the next member."""
    if kind == b"L":
        return {"path": _text(body.rstrip(b"\0"))}
    if kind == b"K":
        return {"linkpath": _text(body.rstrip(b"\0"))}
    said: dict[str, str] = {}
    while body:
        # POSIX pax: `LENGTH KEY=VALUE\n`, the length being that of all of it.
        length = body.partition(b" ")[0]
        if not length.isdigit() or not 0 < int(length) <= len(body):
            raise _damaged("an extended header is not one")
        key, _, value = body[len(length) + 1 : int(length) - 1].partition(b"=")
        said[_text(key)] = _text(value)
        body = body[int(length) :]
    return said


def _apply(member: Member, said: dict[str, str]) -> None:
    member.name = said.get("path", member.name)
    member.linkname = said.get("linkpath", member.linkname)
    if "size" in said:
        if not said["size"].isdecimal():
            raise _damaged("an extended header is not one")
        member.size = int(said["size"])


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _damaged(why: str) -> ImageError:
    return ImageError(
        "base.damaged",
        f"a layer of the base image is no tar archive: {why}",
        hint="push the base image anew, or choose another",
    )
