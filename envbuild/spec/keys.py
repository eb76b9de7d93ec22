"""Dotted keys, as messages write the place of a value, and the nearest of the known names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

__all__ = ["KeyPath", "find_nearest", "overlaps", "parse_key", "render_key"]

KeyPath = tuple[str | int, ...]
"""The place of a value: names of tables and keys, and positions in lists."""

_PIECE: Final = r'\.?(?:\[([0-9]+)\]|("(?:[^"\\]|\\.)*")|([A-Za-z0-9_-]+))'


def render_key(path: KeyPath) -> str:
    """Return `path` as a dotted key: `smoke.request[0].path`; odd names in quotes, as in TOML."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if re.fullmatch("[A-Za-z0-9_-]+", part) else json.dumps(part)
            text += f".{name}" if text else name
    return text


def parse_key(key: str) -> KeyPath:
    """Return the path of a dotted key that `render_key` made."""
    return tuple(
        int(index) if index else json.loads(quoted) if quoted else bare
        for index, quoted, bare in re.findall(_PIECE, key)
    )


def overlaps(one: KeyPath, other: KeyPath) -> bool:
    """Say whether one of two places holds the other."""
    return all(a == b for a, b in zip(one, other, strict=False))


def find_nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `name` was probably meant to be, if any is near."""
    import difflib

    found = difflib.get_close_matches(name.replace("_", "-").lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else None
