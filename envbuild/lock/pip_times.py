"""Reads from uv's output what `exclude-newer` left out: what came later, or has no time at all."""

from __future__ import annotations

import re
from typing import Final

from envbuild.errors import LockError

__all__ = ["explain_timeless", "say_later"]

_FILTERED: Final = re.compile(
    r"`([^`\s]+)` was filtered by `exclude-newer`.*? is v([^\s,]+?)"
    r"(?:, published at ([^\s,]+?))?\.\s"
)


def explain_timeless(output: str) -> LockError | None:
    """Return the error for an index that doesn't say when its packages were published."""
    for name, version, published in _FILTERED.findall(output):
        if not published:
            return LockError(
                "lock.no-upload-time",
                f"no index says when `{name}` {version} was published, so with `exclude-newer` it "
                "isn't seen",
                hint="leave out `exclude-newer`, or name an index in `pip.index-url` that tells "
                "upload times (PEP 700)",
            )
    return None


def say_later(output: str) -> str:
    """Return what was published too late, as the end of a sentence; empty if nothing was."""
    later = [
        f"; `{name}` {version} was published later than `exclude-newer` allows, at {published}"
        for name, version, published in _FILTERED.findall(output)
        if published
    ]
    return "".join(later)
