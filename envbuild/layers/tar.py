"""Canonical tar headers, byte by byte: ustar, with a pax header only where ustar can't say it.

The format is POSIX.1-2001's (`pax`, "ustar Interchange Format"). Nothing of this machine gets
in: no time, no user names, no device numbers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from envbuild.errors import ImageError
from envbuild.layers.entry import Entry

__all__ = ["BLOCK", "END", "padding", "render_header"]

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
"""What a tar ends with."""

_TYPES: Final = {"file": b"0", "hardlink": b"1", "symlink": b"2", "directory": b"5", "pax": b"x"}
_TIME: Final = b"\0%011o\0" % 0
_USTAR: Final = b"ustar\x0000%b0000000\x000000000\0" % bytes(64)
"""Magic, version, no names of user and group, no device."""
_NAME: Final = 100
_PREFIX: Final = 155
_SIZE_LIMIT: Final = 8**11
_OWNER_LIMIT: Final = 8**7


def padding(size: int) -> bytes:
    """Return the zeros that fill `size` bytes up to whole blocks."""
    return bytes(-size % BLOCK)


def render_header(entry: Entry) -> bytes:
    """Return the header blocks of `entry`: 512 bytes, or more where a pax header leads.

    Raises `ImageError("layer.bad-path")` for a path that has no place in a layer.
    """
    name = _encode(entry, entry.path)
    if entry.kind == "directory":
        name += b"/"
    link = _encode(entry, entry.link) if entry.link else b""
    size = entry.size if entry.kind == "file" else 0
    split = _split(name)
    if (
        split is None
        or not name.isascii()
        or len(link) > _NAME
        or not link.isascii()
        or size >= _SIZE_LIMIT
        or entry.owner >= _OWNER_LIMIT
    ):
        return _render_extended(entry, name, link, size)
    fixed = _fix(entry.kind, entry.mode, entry.owner)
    return _block(name=split[1], prefix=split[0], size=size, link=link, fixed=fixed)


def _render_extended(entry: Entry, name: bytes, link: bytes, size: int) -> bytes:
    """Return a pax header with all that ustar can't say, and ustar's with what it can."""
    split = _split(name)
    records: dict[str, bytes] = {}
    if split is None or not name.isascii():
        records["path"] = name
        split = b"", _plain(name)
    if len(link) > _NAME or not link.isascii():
        records["linkpath"] = link
        link = _plain(link)
    if size >= _SIZE_LIMIT:
        records["size"] = b"%d" % size
        size = 0
    owner = entry.owner
    if owner >= _OWNER_LIMIT:
        records["uid"] = records["gid"] = b"%d" % owner
        owner = 0
    fixed = _fix(entry.kind, entry.mode, owner)
    header = _block(name=split[1], prefix=split[0], size=size, link=link, fixed=fixed)
    return _render_pax(records) + header


def _encode(entry: Entry, text: str) -> bytes:
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise _refuse(entry, "is not Unicode text") from None
    if b"\0" in raw:
        raise _refuse(entry, "has a NUL character")
    return raw


def _refuse(entry: Entry, why: str) -> ImageError:
    return ImageError("layer.bad-path", f"the path or link of `{entry.path!a}` {why}")


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Split a name at a `/` into ustar's prefix and name, or return None where none fits."""
    if len(name) <= _NAME:
        return b"", name
    # The first slash that leaves at most 100 bytes makes the shortest prefix; a directory's last
    # slash must stay in the name.
    cut = name.find(b"/", len(name) - _NAME - 1, len(name) - 1)
    if 0 < cut <= _PREFIX:
        return name[:cut], name[cut + 1 :]
    return None


def _plain(name: bytes) -> bytes:
    """Return what a reader without pax would see: ASCII, cut to what fits."""
    return bytes(byte if byte < 128 else 0x3F for byte in name)[:_NAME]


@lru_cache(maxsize=256)
def _fix(kind: str, mode: int, owner: int) -> tuple[bytes, bytes, int]:
    """Return what most headers share: mode and owner, the type, and the sum of all such bytes.

    Almost every entry of a layer is a file of root with one of two modes; adding up 512 bytes for
    each would cost more than all else that is done for it.
    """
    owned = b"%07o\0%07o\0%07o\0" % (mode, owner, owner)
    flag = _TYPES[kind]
    return owned, flag, sum(owned) + sum(flag) + sum(_TIME) + sum(_USTAR) + 8 * 0x20


def _block(
    *, name: bytes, prefix: bytes, size: int, link: bytes, fixed: tuple[bytes, bytes, int]
) -> bytes:
    owned, flag, checksum = fixed
    length = b"%011o" % size
    checksum += sum(name) + sum(length) + sum(link) + sum(prefix)
    return b"%b%b%b%b%06o\0 %b%b%b%b" % (
        name.ljust(_NAME, b"\0"),
        owned,
        length,
        _TIME,
        checksum,
        flag,
        link.ljust(_NAME, b"\0"),
        _USTAR,
        prefix.ljust(_PREFIX + 12, b"\0"),
    )


def _render_pax(records: dict[str, bytes]) -> bytes:
    body = b"".join(_record(key.encode(), value) for key, value in sorted(records.items()))
    fixed = _fix("pax", 0o644, 0)
    header = _block(name=b"././@PaxHeader", prefix=b"", size=len(body), link=b"", fixed=fixed)
    return header + body + padding(len(body))


def _record(key: bytes, value: bytes) -> bytes:
    """Return `LENGTH KEY=VALUE\\n`, whose length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)
