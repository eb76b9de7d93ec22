"""Reads from uv's output what `exclude-newer` left out: what came later, or has no time at all."""

from __future__ import annotations

import re
from typing import Final

from envbuild.errors import LockError

__all__ = ["explain_timeless", "say_later"]

_FILTERED: Final = re.compile(
    r"`([^`\s]+)` was filtered by `exclude-newer` [^`]*? uploaded before \S+\."
    r"(?: The (?:latest version satisfying the requirement is|requested version,) v([^\s,]+?)"
    r"(?:,(?: was)? published at ([^\s,]+?))?\.)? Consider "
)
_TIMELESS: Final = re.compile(r"([A-Za-z0-9][\w.-]*)==([\w.!+]*\w) has no publish time")


def explain_timeless(output: str) -> LockError | None:
    """Return the error for an index that doesn't say when its packages were published."""
    said = " ".join(output.split())
    filtered = _FILTERED.findall(said)
    timeless = [(name, version) for name, version, published in filtered if not published]
    if not filtered:
        timeless = _TIMELESS.findall(said)
    for name, version in timeless:
        return LockError(
            "lock.no-upload-time",
            f"no index says when `{name}`{f' {version}' if version else ''} was published, so with "
            "`exclude-newer` it isn't seen",
            hint="leave out `exclude-newer` (`--exclude-newer` where that was given), or name an "
            "index in `pip.index-url` that tells upload times (PEP 700)",
        )
    return None


def say_later(output: str) -> str:
    """Return what was published too late, as the end of a sentence; empty if nothing was."""
    later = [
        f"; `{name}` {version} was published later than `exclude-newer` allows, at {published}"
        for name, version, published in _FILTERED.findall(" ".join(output.split()))
        if published
    ]
    return "".join(later)
