"""Progress for the logs of CI systems: what was done for an environment folds away under its end.

Work on many environments goes on side by side, and a group of lines must not be torn apart. So the
lines of a task are kept until it ends, and then written at once; what takes long shows in between
that it is alive. Syntax: GitHub's "Workflow commands", GitLab's "Custom collapsible sections".
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Folded", "Wrap", "find_wrap"]

Wrap = Callable[[str, list[str]], list[str]]
"""Makes lines a group under a title."""

_EVERY: Final = 30.0
"""Seconds after which a task that says nothing new shows that it is alive."""


def find_wrap() -> Wrap | None:
    """Return how the CI system folds that runs this, if one does whose words are known."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return wrap_github
    if os.environ.get("GITLAB_CI") == "true":
        return wrap_gitlab
    return None


def wrap_github(title: str, lines: list[str]) -> list[str]:
    """Return the lines as a group of GitHub Actions."""
    return [f"::group::{title}", *lines, "::endgroup::"]


def wrap_gitlab(title: str, lines: list[str]) -> list[str]:
    """Return the lines as a section of GitLab, which is collapsed."""
    now = int(time.time())
    name = re.sub(r"[^a-zA-Z0-9_.-]+", "-", f"{title[:40]}-{time.monotonic_ns()}")
    begin = f"\x1b[0Ksection_start:{now}:{name}[collapsed=true]\r\x1b[0K{title}"
    return [begin, *lines, f"\x1b[0Ksection_end:{now}:{name}\r\x1b[0K"]


@dataclass(kw_only=True, slots=True)
class _Task:
    """What is known of one task: its lines so far, and when anything was last shown of it."""

    lines: list[str] = field(default_factory=list)
    doing: str = ""
    start: float = field(default_factory=time.monotonic)
    shown: float = field(default_factory=time.monotonic)


class Folded:
    """A `Progress` that writes each task as one group when it ends."""

    def __init__(self, wrap: Wrap, write: Callable[[str], None]) -> None:
        self._wrap = wrap
        self._write = write
        self._tasks: dict[str, _Task] = {}
        self._lock = threading.Lock()

    def update(self, task: str, doing: str, done: int = 0, total: int = 0) -> None:
        with self._lock:
            now = time.monotonic()
            known = self._tasks.setdefault(task, _Task())
            if doing != known.doing:
                known.doing = doing
                known.lines.append(f"{now - known.start:7.1f} s  {doing}")
            if now - known.shown > _EVERY:
                known.shown = now
                part = f" ({done / total:.0%})" if total else ""
                self._write(f"{task}: {doing}{part}")

    def finish(self, task: str, outcome: str) -> None:
        with self._lock:
            self._show(f"{task}: {outcome}", self._tasks.pop(task, _Task()).lines)

    def note(self, text: str) -> None:
        with self._lock:
            self._write(text)

    def close(self) -> None:
        """Write what is known of tasks that never ended."""
        with self._lock:
            for name, task in self._tasks.items():
                self._show(f"{name}: not finished", task.lines)
            self._tasks.clear()

    def _show(self, title: str, lines: list[str]) -> None:
        for line in self._wrap(title, lines) if lines else [title]:
            self._write(line)
