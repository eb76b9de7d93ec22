"""Reads of an ELF shared library what the loader's cache says about it (gABI, `elf(5)`)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from envbuild.layers.entry import Entry

__all__ = ["Library", "read_library"]

_FLAGS: Final[Mapping[tuple[int, int], int]] = {
    (62, 2): 0x0303,  # x86-64
    (62, 1): 0x0803,  # x32
    (3, 1): 0x0003,  # i386
    (183, 2): 0x0A03,  # AArch64
    (40, 1): 0x0903,  # ARM, hard float, which is what Debian has
}
"""glibc's flags (`ldconfig.h`) by machine and class: for glibc 2, and for that machine."""

_SHARED: Final = 3
_LOAD, _DYNAMIC = 1, 2
_STRTAB, _SONAME = 5, 14
_LONGEST: Final = 4096
"""Bytes of a name that are read; a file's name has 255 at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Library:
    """`soname` is empty if the library has none; `flags` are those of the cache."""

    soname: str
    flags: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def read_library(entry: Entry) -> Library | None:
    """Return what the file of `entry` is, or None if it is no shared library of a known machine.

    Only the parts that matter are kept in memory, however big the library is.
    """
    head = _read(entry, 0, 64)
    if len(head) < 64 or head[:4] != b"\x7fELF" or head[5] != 1:
        return None
    kind, machine = struct.unpack_from("<HH", head, 16)
    flags = _FLAGS.get((machine, head[4]))
    if kind != _SHARED or flags is None:
        return None
    wide = head[4] == 2
    segments = list(_read_segments(entry, head, wide=wide))
    dynamic = next((s for s in segments if s.kind == _DYNAMIC), None)
    if dynamic is None:
        return None
    table = dict(_read_dynamic(_read(entry, dynamic.offset, dynamic.size), wide=wide))
    if _STRTAB not in table:
        return None
    soname = ""
    if _SONAME in table:
        start = _find_offset(segments, table[_STRTAB] + table[_SONAME])
        soname = _read(entry, start, _LONGEST).partition(b"\0")[0].decode(errors="surrogateescape")
    return Library(soname=soname, flags=flags)


def _read(entry: Entry, start: int, size: int) -> bytes:
    """Return up to `size` bytes from `start`; less where the file ends."""
    found = bytearray()
    place = 0
    if entry.body is None or size <= 0:
        return b""
    for data in entry.body().data:
        if place + len(data) > start:
            found += data[max(0, start - place) : start + size - place]
        place += len(data)
        if place >= start + size:
            break
    return bytes(found)


def _read_segments(entry: Entry, head: bytes, *, wide: bool) -> Iterator[_Segment]:
    start = int(struct.unpack_from("<Q" if wide else "<I", head, 32 if wide else 28)[0])
    step, count = struct.unpack_from("<HH", head, 54 if wide else 42)
    shape = struct.Struct("<I4xQQ8xQ" if wide else "<III4xI")
    table = _read(entry, start, step * count)
    for place in range(0, len(table) - shape.size + 1, max(step, shape.size)):
        kind, offset, address, size = shape.unpack_from(table, place)
        yield _Segment(kind=kind, offset=offset, address=address, size=size)


def _read_dynamic(data: bytes, *, wide: bool) -> Iterator[tuple[int, int]]:
    shape = struct.Struct("<qQ" if wide else "<iI")
    for place in range(0, len(data) - shape.size + 1, shape.size):
        tag, value = shape.unpack_from(data, place)
        if tag == 0:
            return
        yield tag, value


def _find_offset(segments: list[_Segment], address: int) -> int:
    """Return where in the file the byte is that is loaded at `address`."""
    for segment in segments:
        if segment.kind == _LOAD and 0 <= address - segment.address < segment.size:
            return address - segment.address + segment.offset
    return address
