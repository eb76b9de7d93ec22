"""Watches the memory of a process and of all its descendants, several times a second."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Memory", "watch_memory"]

_PAUSE = 0.2
"""Seconds between two looks; a shorter peak is missed."""


class Memory:
    """The highest sum seen so far of what the processes have to themselves and share by parts."""

    def __init__(self) -> None:
        self.peak_mb = 0.0


@contextlib.contextmanager
def watch_memory(pid: int) -> Iterator[Memory]:
    """Watch the tree of processes under `pid` while the block runs (Linux: PSS in /proc)."""
    memory, ended = Memory(), threading.Event()

    def look() -> None:
        while not ended.wait(_PAUSE):
            total = sum(_read_pss(child) for child in [pid, *_list_descendants(pid)])
            memory.peak_mb = max(memory.peak_mb, total / 1024)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()


def _list_descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _list_descendants(int(child))


def _read_pss(pid: int) -> int:
    """Return a process's proportional share of memory, in KiB."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
