"""Finds the lines of a TOML text on which values begin, for error messages only.

The parser does not say where it found a value. So the text is parsed again and again, each time
with one line more, until the value is there: slow, exact, and only done once something is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from envbuild.spec.keys import KeyPath

__all__ = ["find_lines"]

_MOST_LINES: Final = 500
"""Longer texts get no line numbers: the work grows with the square of the length."""


def find_lines(text: str, places: Iterable[KeyPath]) -> Mapping[KeyPath, int]:
    """Return the line, from 1, of each of `places` in the TOML `text`, which must be valid.

    A place that is not in the text has the line of what should hold it; one at the top of the file,
    none.
    """
    lines = text.split("\n")
    whole = _parse(text)
    if len(lines) > _MOST_LINES or whole is None:
        return {}
    wanted = {place: _cut(whole, place) for place in places}
    starts = _find_starts(lines, {place for place in wanted.values() if place})
    return {place: starts[cut] for place, cut in wanted.items() if cut in starts}


def _find_starts(lines: list[str], waiting: set[KeyPath]) -> dict[KeyPath, int]:
    starts: dict[KeyPath, int] = {}
    begin = 1
    for number in range(1, len(lines) + 1):
        head = "\n".join(lines[:number])
        parsed = _parse(head)
        if parsed is None:
            parsed = _parse(head + "\n]")  # a list that goes on over the next lines
        if parsed is not None:
            found = {place for place in waiting if _cut(parsed, place) == place}
            starts.update(dict.fromkeys(found, begin))
            waiting -= found
            begin = number + 1
        if not waiting:
            break
    return starts


def _parse(text: str) -> object:
    import tomli

    try:
        return tomli.loads(text)
    except ValueError:
        return None


def _cut(table: object, place: KeyPath) -> KeyPath:
    """Return the longest beginning of `place` that is there in `table`."""
    for n, part in enumerate(place):
        try:
            table = table[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return place[:n]
    return place
