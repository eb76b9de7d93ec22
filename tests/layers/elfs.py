"""Small shared libraries, written by hand: just what a loader's cache reads of them."""

from __future__ import annotations

import struct

from envbuild.layers.archive import body_of_bytes
from envbuild.layers.entry import Entry

__all__ = ["AARCH64", "X86_64", "file", "folder", "link", "make_library"]

X86_64, AARCH64 = 62, 183


def make_library(
    soname: str | None, *, machine: int = X86_64, kind: int = 3, shift: int = 0x1000
) -> bytes:
    """Return an ELF file of 64 bits; loaded `shift` bytes above its place in the file."""
    strings = b"\0" + (soname or "").encode() + b"\0"
    head, program, entry = 64, 56, 16
    start = head + 2 * program
    rows = [(5, start + shift)] + ([(14, 1)] if soname is not None else []) + [(0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *row) for row in rows)
    place = (start + len(strings) + 15) // 16 * 16
    end = place + len(rows) * entry
    data = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", kind, machine, 1, 0, head, 0, 0, head,
        program, 2, 64, 0, 0,
    )  # fmt: skip
    data += struct.pack("<IIQQQQQQ", 1, 5, 0, shift, shift, end, end, 0x1000)
    data += struct.pack(
        "<IIQQQQQQ", 2, 6, place, place + shift, place + shift, len(dynamic), len(dynamic), 8
    )
    return (data + strings).ljust(place, b"\0") + dynamic


def file(path: str, data: bytes, *, mode: int = 0o644) -> Entry:
    """Return a file's entry."""
    return Entry(path=path, kind="file", mode=mode, size=len(data), body=body_of_bytes(data))


def link(path: str, target: str) -> Entry:
    """Return a symbolic link's entry."""
    return Entry(path=path, kind="symlink", mode=0o777, link=target)


def folder(path: str) -> Entry:
    """Return a folder's entry."""
    return Entry(path=path, kind="directory", mode=0o755)
