"""Puts the real prefix where a conda package holds the one that it was built with.

As conda does it (`conda.core.portability`): in text, every occurrence is replaced; in a binary
file each string that holds one is rewritten and filled up with zeros, so that nothing moves. Both
in all encodings that conda knows, streaming.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["PrefixTooLongError", "replace_in_binary", "replace_in_text"]

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
    for encoding, _ in _ENCODINGS:
        stream = _replace(stream, old.encode(encoding), new.encode(encoding))
    yield from stream


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
