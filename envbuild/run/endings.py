"""Say in words how a process ended, so that nobody has to know what 137 means."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Final

__all__ = ["explain_exit", "explain_memory", "find_exception", "render_size"]

_LINKS: Final = (
    "The above exception was the direct cause",
    "During handling of the above exception",
)
_LONGEST: Final = 300
_CODES: Final = {
    126: "its program could not be executed (exit code 126)",
    127: "its program was not found (exit code 127)",
    134: "it aborted itself (exit code 134, SIGABRT)",
    137: "it was killed (exit code 137, SIGKILL)",
    139: "it crashed in native code (exit code 139, SIGSEGV)",
    143: "it was told to stop (exit code 143, SIGTERM)",
}


def explain_exit(code: int) -> str:
    """Return why a process ended, from its exit code (128 + N: ended by signal N)."""
    if code in _CODES:
        return _CODES[code]
    if code > 128:
        try:
            return f"it was ended by {signal.Signals(code - 128).name} (exit code {code})"
        except ValueError:
            pass
    return f"it ended with exit code {code}"


def explain_memory(limit: int | None) -> str:
    """Return the words for a process that was killed because memory ran out."""
    if limit is None:
        return "it was killed because the engine's machine ran out of memory"
    return f"it was killed for using more memory than its limit of {render_size(limit)}"


def find_exception(lines: Sequence[str]) -> str | None:
    """Return the exception that the last Python traceback of a log ends with, or None.

    Where one exception led to others, all are named in the order in which they came.
    """
    chain: list[str] = []
    inside = linked = False
    for line in lines:
        if line.rstrip().endswith("Traceback (most recent call last):"):
            chain = chain if linked else []
            inside, linked = True, False
        elif line.startswith(_LINKS):
            linked = True
        elif inside and line and not line[0].isspace():
            chain.append(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}...")
            inside = False
    return ", then ".join(chain[:3]) or None


def render_size(size: int) -> str:
    """Return bytes with the unit that a spec uses: `512m`, `4g`."""
    for unit, step in (("t", 1 << 40), ("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)):
        if size >= step and size % step == 0:
            return f"{size // step}{unit}"
    return f"{size} bytes"
