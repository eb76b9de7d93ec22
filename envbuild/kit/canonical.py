"""Canonical JSON and SHA-256 digests: the one way that envbuild names things by content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

__all__ = ["CHUNK", "canonical_json", "digest_bytes", "digest_file", "digest_json"]

CHUNK: Final = 1 << 20
"""Bytes read at a time wherever a file is streamed."""


def canonical_json(value: object) -> bytes:
    """Return the one UTF-8 JSON text of `value`: keys sorted, no white space, no NaN.

    Values are limited to `dict` with `str` keys, `list`, `tuple`, `str`, `int`, `bool` and `None`;
    floats have no canonical form here and raise `TypeError`.
    """
    _refuse_floats(value)
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def _refuse_floats(value: object) -> None:
    if isinstance(value, float):
        raise TypeError("a float has no canonical form")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"a key of canonical JSON is a str, not {key!r}")
        value = tuple(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            if type(item) is not str:  # most of it; a call for each would be most of the time
                _refuse_floats(item)


def digest_bytes(data: bytes) -> str:
    """Return `sha256:<64 hex digits>` of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_json(value: object) -> str:
    """Return the digest of `value`'s canonical JSON."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> str:
    """Return the digest of a file's bytes, read in chunks."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
