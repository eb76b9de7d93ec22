"""What long work tells whoever watches: one small protocol, and a watcher that says nothing."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Told what each task is doing. Calls may come from several threads at once."""

    def update(self, task: str, doing: str, done: int = 0, total: int = 0) -> None:
        """Task `task` is now `doing` something, `done` of `total` (bytes or pieces; 0: unknown)."""

    def finish(self, task: str, outcome: str) -> None:
        """Task `task` ended, and this line says how."""

    def note(self, text: str) -> None:
        """A line for the log that belongs to no task."""


class Silent:
    """A `Progress` that shows nothing."""

    def update(self, task: str, doing: str, done: int = 0, total: int = 0) -> None:
        """Show nothing."""

    def finish(self, task: str, outcome: str) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""
