"""Progress as people read it: one live display on a terminal, plain lines everywhere else."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from envbuild.kit.progress import Progress
from envbuild.sessions.fold import Folded, find_wrap

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = ["print_table", "show_progress"]

_EVERY: Final = 10.0
"""Seconds between plain lines of one step that goes on; a CI log shows that it is alive."""


@contextlib.contextmanager
def show_progress() -> Iterator[Progress]:
    """Give a `Progress` that writes to standard error while the block runs."""
    wrap = find_wrap()
    if wrap is not None:
        folded = Folded(wrap, _write)
        try:
            yield folded
        finally:
            folded.close()
        return
    if not sys.stderr.isatty() or os.environ.get("CI") or os.environ.get("TERM") == "dumb":
        yield _Plain()
        return
    live = _Live()
    try:
        yield live
    finally:
        live.close()


def _amount(done: int, total: int) -> str:
    if not total:
        return ""
    if total < 10_000:  # pieces
        return f" {done}/{total}"
    return f" {done / 1e6:.0f}/{total / 1e6:.0f} MB"


def _write(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class _Plain:
    """A line when a task begins something else or ends, and now and then in between."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def update(self, task: str, doing: str, done: int = 0, total: int = 0) -> None:
        now = time.monotonic()
        with self._lock:
            before, when = self._said.get(task, ("", 0.0))
            if doing == before and now - when < _EVERY:
                return
            self._said[task] = (doing, now)
            _write(f"{task}: {doing}{_amount(done, total) if doing == before else ''}")

    def finish(self, task: str, outcome: str) -> None:
        with self._lock:
            self._said.pop(task, None)
            _write(f"{task}: {outcome}")

    def note(self, text: str) -> None:
        with self._lock:
            _write(text)


class _Live:
    """A line a task, redrawn in place. Rich is loaded when something takes time, not before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: RichProgress | None = None
        self._tasks: dict[str, TaskID] = {}

    def _open(self) -> RichProgress:
        if self._bars is None:
            from rich.console import Console
            from rich.progress import Progress as Bars
            from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
            from rich.table import Column

            self._bars = Bars(
                SpinnerColumn(),
                TextColumn("{task.fields[name]}", style="bold"),
                TimeElapsedColumn(),
                # Where the terminal is narrow, this alone is cut: a row without a name says little.
                TextColumn(
                    "{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)
                ),
                console=Console(stderr=True),
                expand=True,
                transient=True,
            )
            self._bars.start()
        return self._bars

    def update(self, task: str, doing: str, done: int = 0, total: int = 0) -> None:
        with self._lock:
            bars = self._open()
            if task not in self._tasks:
                self._tasks[task] = bars.add_task("", total=None, name=task)
            bars.update(self._tasks[task], description=doing + _amount(done, total))

    def finish(self, task: str, outcome: str) -> None:
        with self._lock:
            if self._bars is not None and task in self._tasks:
                self._bars.remove_task(self._tasks.pop(task))
            self._print(f"{task}: {outcome}")

    def note(self, text: str) -> None:
        with self._lock:
            self._print(text)

    def _print(self, text: str) -> None:
        if self._bars is None:
            _write(text)
        else:
            self._bars.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        with self._lock:
            if self._bars is not None:
                self._bars.stop()


def print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table to standard output, aligned, without colours: it is read in logs too."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, tuple("-" * w for w in widths), *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    sys.stdout.flush()
