"""Puts the real prefix where a conda package holds the one that it was built with.

As conda does it (`conda.core.portability`): in text, every occurrence is replaced; in a binary
file each string that holds one is rewritten and filled up with zeros, so that nothing moves. Both
in all encodings that conda knows, streaming. A first line `#!...` that becomes too long for a
kernel looks for its interpreter on PATH.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

__all__ = ["SHEBANG_LIMIT", "PrefixTooLongError", "replace_in_binary", "replace_in_text"]

SHEBANG_LIMIT: Final = 127
"""Bytes of a first line that every Linux kernel reads (`BINPRM_BUF_SIZE` was 128 until 5.1)."""

_SHEBANG: Final = re.compile(rb"(#! *)(/(?:\\ |[^ \n\r\t])*)(.*)")
_LINE: Final = 1 << 20
"""Bytes in which a first line must end to be one."""

# conda's order. Little endian first: the two are each other, shifted by a byte.
_ENCODINGS: Final = (
    ("utf-8", 1),
    ("utf-16-le", 2),
    ("utf-16-be", 2),
    ("utf-32-le", 4),
    ("utf-32-be", 4),
)


class PrefixTooLongError(ValueError):
    """A binary file has no room for the prefix."""


def replace_in_text(stream: Iterable[bytes], old: str, new: str) -> Iterator[bytes]:
    """Yield `stream` with every `old` replaced by `new`."""
    line, stream = _split_first_line(iter(stream))
    if line:
        yield _shorten_shebang(line.replace(old.encode(), new.encode()))
    for encoding, _ in _ENCODINGS:
        stream = _replace(stream, old.encode(encoding), new.encode(encoding))
    yield from stream


def _split_first_line(stream: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the line that names an interpreter, without its end (b"": none does), and the rest."""
    head = b""
    for data in stream:
        head += data
        if not b"#!".startswith(head[:2]) or b"\n" in head or len(head) > _LINE:
            break
    end = head.find(b"\n")
    if not head.startswith(b"#!") or (end < 0 and len(head) > _LINE):
        return b"", chain((head,), stream)
    end = len(head) if end < 0 else end
    return head[:end], chain((head[end:],), stream)


def _shorten_shebang(line: bytes) -> bytes:
    """Return a first line that a kernel reads whole, as py-rattler makes it of a longer one."""
    found = _SHEBANG.fullmatch(line)
    if len(line) <= SHEBANG_LIMIT or found is None:
        return line
    return b"#!/usr/bin/env " + found[2].rpartition(b"/")[2] + found[3]


def _replace(stream: Iterable[bytes], old: bytes, new: bytes) -> Iterator[bytes]:
    rest = b""
    for data in stream:
        *whole, rest = (rest + data).split(old)
        # The next bytes may complete an occurrence that begins at the end of these.
        cut = max(len(rest) - len(old) + 1, 0)
        yield b"".join(piece + new for piece in whole) + rest[:cut]
        rest = rest[cut:]
    yield rest


def replace_in_binary(stream: Iterable[bytes], old: str, new: str) -> Iterator[bytes]:
    """Yield `stream` with `old` replaced by `new` in its strings, and not a byte longer.

    Raises `PrefixTooLongError` where a string would have to grow.
    """
    for encoding, unit in _ENCODINGS:
        stream = _replace_strings(stream, old.encode(encoding), new.encode(encoding), unit)
    yield from stream


def _replace_strings(stream: Iterable[bytes], old: bytes, new: bytes, unit: int) -> Iterator[bytes]:
    """Yield `stream` with each string, from `old` to the next zero unit, rewritten in place."""
    rest = bytearray()
    seen = 0  # bytes of a string that goes on at the end of `rest`, known to have no end
    for data in stream:
        rest += data
        while True:
            start = rest.find(old)
            if start < 0:
                start = max(len(rest) - len(old) + 1, 0)
                break
            first = start + max(seen, len(old))
            end = _find_zero(rest, first, unit)
            if end < 0:
                seen = first + (len(rest) - first) // unit * unit - start
                break
            yield bytes(rest[:start]) + _rewrite(bytes(rest[start:end]), old, new)
            del rest[:end]
            seen = 0
        yield bytes(rest[:start])
        del rest[:start]
    yield _rewrite(bytes(rest), old, new)


def _find_zero(data: bytearray, first: int, unit: int) -> int:
    """Return where the first zero code unit at or after `first` is, or -1."""
    found = data.find(bytes(unit), first)
    while found >= 0 and (found - first) % unit:
        found = data.find(bytes(unit), found + 1)
    return found


def _rewrite(string: bytes, old: bytes, new: bytes) -> bytes:
    if old not in string:
        return string
    changed = string.replace(old, new)
    if len(changed) > len(string):
        raise PrefixTooLongError(len(new), len(old))
    return changed.ljust(len(string), b"\0")
