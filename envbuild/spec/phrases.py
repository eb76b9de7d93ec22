"""The words of messages: what a shape expects, with an example, and what was found instead."""

from __future__ import annotations

import json
import math
from typing import Final

from envbuild.spec.formats.base import Format, show_text
from envbuild.spec.shapes import (
    Choice,
    Flag,
    Json,
    Many,
    Number,
    Record,
    Shape,
    Table,
    Text,
)

__all__ = ["LARGEST", "advise", "expect_shape", "join_names", "render_example", "show_value"]

LARGEST: Final = 2**63 - 1
"""TOML's whole numbers have 64 bits, and so have those of the engines they are handed to."""


def join_names(names: list[str], *, last: str = "and") -> str:
    """Return "`a`, `b` and `c`"."""
    quoted = [f"`{name}`" for name in names]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"


def show_value(value: object) -> str:
    """Return what a value of a TOML file is, short enough for a message."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value is None:
        return "`null`"
    if isinstance(value, str):
        return f"the text {show_text(value)}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"`{value}`"
    if isinstance(value, int) and abs(value) > LARGEST:
        return "a number of more than 64 bits"
    if isinstance(value, int | float):
        return f"the number `{value}`"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a table"
    return f"the date or time `{value}`"


def render_example(shape: Shape) -> str:
    """Return a right value of `shape`, as TOML writes it on one line."""
    match shape:
        case Text():
            return _quote(shape.format.example if shape.format else "text")
        case Choice():
            return _quote(shape.values[0])
        case Number():
            return shape.range.example if shape.range else "1"
        case Flag():
            return "true"
        case Json():
            return "[1, 2]"
        case Many():
            return f"[{render_example(shape.item)}]"
        case Table():
            key = shape.keys.example if shape.keys else "name"
            return f"{{ {_bare(key)} = {render_example(shape.value)} }}"
        case Record():
            return f"{{ {_render_first(shape)} }}"


def _render_first(record: Record) -> str:
    slots = [s for s in record.slots.values() if s.required] or list(record.slots.values())[:1]
    return ", ".join(f"{slot.key} = {render_example(slot.shape)}" for slot in slots)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _bare(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() else _quote(key)


def expect_shape(shape: Shape, key: str) -> str:
    """Return what a value at the dotted `key` should be, in words that follow "expected"."""
    match shape:
        case Choice():
            return f"one of {join_names([_quote(value) for value in shape.values], last='or')}"
        case Flag():
            return "`true` or `false`, without quotes"
        case Many(item=Record()):
            return f"one or more tables, each under `[[{key}]]`"
        case Record():
            return f"a table, `[{key}]`"
    return f"{_name_shape(shape)}, such as `{render_example(shape)}`"


def _name_shape(shape: Shape) -> str:
    match shape:
        case Text():
            return f"a text in quotes{_describe(shape.format)}"
        case Number():
            kind = "a whole number" if shape.whole else "a number"
            return f"{kind} {shape.range.expected}" if shape.range else kind
        case Many():
            return f"a list of {_name_many(shape.item)}"
        case Table():
            return f"a table with {_name_many(shape.value)} as values"
    return "a value that JSON has too"


def _describe(format: Format | None) -> str:  # noqa: A002
    return "" if format is None else f" ({format.name})"


def _name_many(shape: Shape) -> str:
    match shape:
        case Text():
            return "texts"
        case Number():
            return "numbers"
        case Record():
            return "tables"
    return "lists"


def advise(shape: Shape, value: object) -> str | None:
    """Return how to turn `value` into the `shape` it was meant to have, if that is clear."""
    match shape, value:
        case Text(format=None), bool() | int() if abs(value) <= LARGEST:
            return f"write {show_text(str(value).lower())}"
        case Text(), int() | float() if not isinstance(value, bool) and abs(value) <= LARGEST:
            return "put it in quotes" if _fits(shape, str(value)) else None
        case Number() | Flag(), str():
            return "leave out the quotes" if _is_bare(value) else None
        case Many(item=Text() as item), str():
            return f"write {_render_list(item, value)}" if _fits(item, value) else None
        case Many(item=Record()), dict():
            return "write two brackets on each side"
        case Record(), list():
            return "write one bracket on each side, and the table once"
    return None


def _render_list(item: Text, text: str) -> str:
    texts = text.split() if item.format and item.format.splits else [text]
    return f"`[{', '.join(_quote(text) for text in texts)}]`"


def _fits(shape: Shape, text: str) -> bool:
    return isinstance(shape, Text) and (shape.format is None or shape.format.check(text) is None)


def _is_bare(text: str) -> bool:
    return text in ("true", "false") or text.replace(".", "", 1).isdecimal()
