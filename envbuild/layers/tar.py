"""Canonical tar headers, byte by byte: ustar, with a pax header only where ustar can't say it.

The format is POSIX.1-2001's (`pax`, "ustar Interchange Format"). Nothing of this machine gets
in: no time, no user names, no device numbers.
"""

from __future__ import annotations

from typing import Final

from envbuild.errors import ImageError
from envbuild.layers.entry import Entry

__all__ = ["BLOCK", "END", "padding", "render_header"]

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
"""What a tar ends with."""

_TYPES: Final = {"file": b"0", "hardlink": b"1", "symlink": b"2", "directory": b"5"}
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
    link = _encode(entry, entry.link)
    if entry.kind == "directory":
        name += b"/"
    split = _split(name)
    size = entry.size if entry.kind == "file" else 0
    records: dict[str, bytes] = {}
    if split is None or not name.isascii():
        records["path"] = name
    if len(link) > _NAME or not link.isascii():
        records["linkpath"] = link
    if size >= _SIZE_LIMIT:
        records["size"] = b"%d" % size
    if entry.owner >= _OWNER_LIMIT:
        records["uid"] = records["gid"] = b"%d" % entry.owner
    prefix, short = (b"", _plain(name)) if "path" in records or split is None else split
    header = _block(
        name=short,
        prefix=prefix,
        mode=entry.mode,
        owner=entry.owner if entry.owner < _OWNER_LIMIT else 0,
        size=size if size < _SIZE_LIMIT else 0,
        kind=_TYPES[entry.kind],
        link=link if "linkpath" not in records else _plain(link),
    )
    return _render_pax(records) + header if records else header


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


def _block(
    *, name: bytes, prefix: bytes, mode: int, owner: int, size: int, kind: bytes, link: bytes
) -> bytes:
    head = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        name.ljust(_NAME, b"\0"),
        mode,
        owner,
        owner,
        size,
        0,
    )
    tail = b"%b%bustar\x0000%b0000000\x000000000\0%b" % (
        kind,
        link.ljust(_NAME, b"\0"),
        bytes(64),
        prefix.ljust(167, b"\0"),
    )
    checksum = sum(head) + sum(tail) + 8 * 0x20
    return b"%b%06o\0 %b" % (head, checksum, tail)


def _render_pax(records: dict[str, bytes]) -> bytes:
    body = b"".join(_record(key.encode(), value) for key, value in sorted(records.items()))
    header = _block(
        name=b"././@PaxHeader", prefix=b"", mode=0o644, owner=0, size=len(body), kind=b"x", link=b""
    )
    return header + body + padding(len(body))


def _record(key: bytes, value: bytes) -> bytes:
    """Return `LENGTH KEY=VALUE\\n`, whose length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)
