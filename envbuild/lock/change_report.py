"""Writes what moved in locks as Markdown, for the description of a pull request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from envbuild.kit.words import say_count
from envbuild.lock.changes import CHANGE_COLUMNS, Change, render_changes

__all__ = ["render_markdown"]

LIMIT: Final = 60_000
"""Characters. GitHub takes 65,536 for the description of a pull request."""

_UNFOLDED: Final = 15
"""Rows that a reader sees without a click."""


def render_markdown(moved: Mapping[str, Sequence[Change]], *, limit: int = LIMIT) -> str:
    """Return a section for each environment of which something moved, and the rest in a line.

    What would be longer than `limit` characters is left out by whole sections, with a line that
    says for which environments.
    """
    parts: list[str] = []
    left_out: list[str] = []
    room = limit - 200
    for name, changes in moved.items():
        section = "\n".join(_section(name, changes)) if changes else ""
        if len(section) > room:
            left_out.append(name)
        elif section:
            parts.append(section)
            room -= len(section) + 2
    same = sum(not changes for changes in moved.values())
    if same:
        parts.append(f"{say_count(same, 'lock')} did not move.")
    if left_out:
        parts.append(f"Too long to be shown: {_join(left_out, limit)}.")
    return "\n\n".join(parts) + "\n"


def _section(name: str, changes: Sequence[Change]) -> Iterator[str]:
    kinds = Counter(change.kind for change in changes)
    summary = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    yield f"### `{name}`: {summary}"
    yield ""
    folded = len(changes) > _UNFOLDED
    if folded:
        yield f"<details><summary>{say_count(len(changes), 'change')}</summary>"
        yield ""
    yield _row(CHANGE_COLUMNS)
    yield "|---" * len(CHANGE_COLUMNS) + "|"
    yield from map(_row, render_changes(changes))
    if folded:
        yield ""
        yield "</details>"


def _row(cells: Sequence[str]) -> str:
    """Return a row of a table, in which a bar or a new line of a text would end a cell."""
    return "| " + " | ".join(" ".join(c.replace("|", r"\|").split()) for c in cells) + " |"


def _join(names: Sequence[str], limit: int) -> str:
    """Name as many as there may be room for."""
    shown = names[: max(1, limit // 1000)]
    rest = len(names) - len(shown)
    return ", ".join(f"`{name}`" for name in shown) + (f" and {rest} more" if rest else "")
