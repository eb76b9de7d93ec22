"""Edits the text of one TOML list of strings; all that isn't the change stays as it is written.

tomlkit keeps the layout around a list. Within one it writes wrong TOML where commas lead the
lines, and drops a last comma; here a list is text with places in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["add_item", "remove_item", "render_item", "replace_item"]

_TOKEN: Final = re.compile(
    r"""(?P<item>\"{3}(?:[^\\]|\\.)*?\"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\]|\\.)*"|'[^']*')"""
    r"""|(?P<comment>\#[^\n]*)|(?P<comma>,)|[\s\[\]]""",
    re.DOTALL,
)
_INDENT: Final = "  "
"""Before the first string of a list that has lines and no string yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Item:
    """Where a string stands, and the comma after it: the same place for none."""

    start: int
    end: int
    comma: int | None = None


def _scan(text: str) -> list[_Item]:
    items: list[_Item] = []
    for token in _TOKEN.finditer(text):
        if token["item"]:
            items.append(_Item(start=token.start(), end=token.end()))
        elif token["comma"]:
            items[-1] = _Item(start=items[-1].start, end=items[-1].end, comma=token.start())
    return items


def render_item(value: str, like: str = '"') -> str:
    """Return `value` as a TOML string, in the quotes of the string `like` where it can be."""
    if like.startswith("'") and not re.search(r"['\u0000-\u0008\u000a-\u001f\u007f]", value):
        return f"'{value}'"
    return json.dumps(value, ensure_ascii=False).replace("\u007f", "\\u007f")


def replace_item(text: str, index: int, value: str) -> str:
    """Return the list `text` with another string in place of that at `index`."""
    item = _scan(text)[index]
    return text[: item.start] + render_item(value, text[item.start]) + text[item.end :]


def add_item(text: str, value: str) -> str:
    """Return the list `text` with one more string at its end, laid out as the last one is."""
    items = _scan(text)
    if not items:
        return _add_first(text, render_item(value))
    last = items[-1]
    new = render_item(value, text[last.start])
    lead = _find_lead(text, last.start)
    if lead is not None and lead.strip() == ",":
        place = _find_line_end(text, last.end)
        return f"{text[:place]}\n{lead}{new}{text[place:]}"
    if last.comma is not None:
        place = last.comma + 1
        if lead is None:
            return f"{text[:place]} {new},{text[place:]}"
        place = _find_line_end(text, place)
        return f"{text[:place]}\n{lead}{new},{text[place:]}"
    if lead is None:
        return f"{text[: last.end]}, {new}{text[last.end :]}"
    place = _find_line_end(text, last.end)
    return f"{text[: last.end]},{text[last.end : place]}\n{lead}{new}{text[place:]}"


def _add_first(text: str, new: str) -> str:
    if "\n" not in text:
        return f"[{new}]"
    head = text[:-1].rstrip(" \t")
    comment = re.search(r"\n([ \t]*)#", text)
    indent = comment[1] if comment else text[len(head) : -1] + _INDENT
    return f"{head}{indent}{new},\n{text[len(head) :]}"


def _find_lead(text: str, start: int) -> str | None:
    """Return what stands in the line before a string; None if that is more than a comma."""
    begin = text.rfind("\n", 0, start) + 1
    lead = text[begin:start]
    return lead if begin and not lead.strip(" \t,") else None


def _find_line_end(text: str, place: int) -> int:
    """Return where the line ends of which only blanks and a comment follow; else `place`."""
    found = re.compile(r"[ \t\r]*(?:#[^\n]*)?(?=\n)").match(text, place)
    return found.end() if found else place


def remove_item(text: str, index: int) -> str:
    """Return the list `text` without the string at `index`, its comma, and its line's comment."""
    items = _scan(text)
    item = items[index]
    before = items[index - 1] if index else None
    lead = _find_lead(text, item.start)
    led = lead is not None and "," in lead  # by the comma of the string before
    own_comma = item.comma is not None and "\n" not in text[item.end : item.comma]
    past = item.comma + 1 if own_comma and item.comma is not None else item.end
    end = _find_line_end(text, past)
    cuts: list[tuple[int, int]] = []
    # a line, or several, of its own
    if lead is not None and text[end] == "\n" and not (led and own_comma):
        cuts.append((item.start - len(lead), end + 1))
    else:
        cuts.append(_find_inline(text, items, index, past, end))
    if item.comma is None and before is not None and before.comma is not None:
        cuts.append((before.comma, before.comma + 1))
    elif item.comma is not None and not own_comma and not led:
        blanks = re.compile(r",[ \t]*").match(text, item.comma)
        cuts.append((item.comma, blanks.end() if blanks else item.comma + 1))
    rest = _cut(text, cuts)
    return "[]" if re.fullmatch(r"\[[ \t]*\]", rest) else rest


def _find_inline(
    text: str, items: Sequence[_Item], index: int, past: int, end: int
) -> tuple[int, int]:
    """Return what goes of a line that has more than this string: up to the next or the last one."""
    start = items[index].start
    if index + 1 < len(items) and "\n" not in text[past : items[index + 1].start]:
        return start, items[index + 1].start
    if index and "\n" not in text[items[index - 1].end : start]:
        before = items[index - 1]
        return (before.end if before.comma is None else before.comma + 1), past
    return start, end


def _cut(text: str, cuts: Sequence[tuple[int, int]]) -> str:
    kept, place = "", 0
    for start, end in sorted(cuts):
        if start > place:
            kept += text[place:start]
        place = max(place, end)
    return kept + text[place:]
