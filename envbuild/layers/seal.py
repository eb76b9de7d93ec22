"""The seal at a layer blob's end: which layer it is, readable without reading the blob.

Who finds a layer in a registry's index has only somebody's word that the blob is the layer of that
key, and that its plain tar has that diff ID. So a blob says both itself, in its last bytes, which
are part of what its digest covers: one small range request proves an entry of the index, and an
index that was lost can be made again from the images.

In a gzip blob the seal is an empty member whose header has an extra field (RFC 1952, 2.3.1.1), in
a zstd blob a skippable frame (RFC 8878, 3.1.2); every decoder passes over either.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

__all__ = ["SEAL_SIZE", "Seal", "parse_seal", "render_seal"]

_CONTENT: Final = struct.Struct(">8s32s32sQ")
_MAGIC: Final = b"envbuild"
_FIELD: Final = b"EB"
_GZIP_HEAD: Final = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack(
    "<H2sH", 4 + _CONTENT.size, _FIELD, _CONTENT.size
)
_GZIP_END: Final = b"\x03\0" + bytes(8)
"""An empty deflate block, and the checksum and size of nothing."""

_ZSTD_HEAD: Final = struct.pack("<II", 0x184D2A5E, _CONTENT.size)

SEAL_SIZE: Final = len(_GZIP_HEAD) + _CONTENT.size + len(_GZIP_END)
"""As many bytes of a blob's end hold the seal, whatever the compression."""

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Seal:
    """What a blob says of itself: its layer's key, its plain tar's diff ID and size in bytes."""

    key: str
    diff_id: str
    plain_size: int


def render_seal(seal: Seal, compression: str) -> bytes:
    """Return the bytes that end a blob of `compression` (`gzip` or `zstd`)."""
    content = _CONTENT.pack(_MAGIC, _raw(seal.key), _raw(seal.diff_id), seal.plain_size)
    if compression == "zstd":
        return _ZSTD_HEAD + content
    return _GZIP_HEAD + content + _GZIP_END


def parse_seal(end: bytes) -> Seal | None:
    """Return what the last bytes of a blob say of it; None where there is no seal."""
    for head, tail in ((_GZIP_HEAD, _GZIP_END), (_ZSTD_HEAD, b"")):
        size = len(head) + _CONTENT.size + len(tail)
        if len(end) >= size and end[-size:].startswith(head) and end.endswith(tail):
            stop = len(end) - len(tail)
            magic, key, diff_id, plain = _CONTENT.unpack(end[stop - _CONTENT.size : stop])
            if magic == _MAGIC:
                return Seal(key=_digest(key), diff_id=_digest(diff_id), plain_size=plain)
    return None


def _raw(digest: str) -> bytes:
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"not a digest: {digest!r}")
    return bytes.fromhex(digest.removeprefix("sha256:"))


def _digest(raw: bytes) -> str:
    return f"sha256:{raw.hex()}"
