"""Turns a parsed TOML table into a dataclass, or into all of its problems at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, cast

from envbuild.errors import Problem
from envbuild.spec.formats.base import Format, Items
from envbuild.spec.keys import KeyPath, find_nearest, render_key
from envbuild.spec.phrases import LARGEST, advise, expect_shape, render_example, show_value
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
    find_record,
)
from envbuild.spec.unknown import explain_unknown, find_meant

__all__ = ["Draft", "read_draft", "read_table"]

T = TypeVar("T")

_WRONG: Final = object()
"""Stands for a value that has a problem."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft(Generic[T]):
    """What could be read.

    Where a value has a problem, `value` holds the key's default or, for want of one, an example;
    `doubtful` are the places where it may therefore not say what was meant.
    """

    value: T
    problems: tuple[Problem, ...]
    doubtful: tuple[KeyPath, ...]


def read_table(
    cls: type[T], mapping: Mapping[str, object], *, at: KeyPath = ()
) -> tuple[T | None, list[Problem]]:
    """Read `mapping`, as a TOML parser gives it, into the dataclass `cls`.

    Returns the instance and no problems, or None and every problem, each with its dotted key below
    `at`. Never raises for what is in the mapping.
    """
    draft = read_draft(cls, mapping, at=at)
    return (None if draft.problems else draft.value), list(draft.problems)


def read_draft(cls: type[T], mapping: Mapping[str, object], *, at: KeyPath = ()) -> Draft[T]:
    """Read `mapping` like `read_table`, but always give a value, for checks across keys."""
    reader = _Reader(find_record(cls), at)
    value = cast("T", reader.read_record(reader.root, mapping, at))
    return Draft(value=value, problems=tuple(reader.problems), doubtful=tuple(reader.doubtful))


class _Reader:
    def __init__(self, root: Record, at: KeyPath) -> None:
        self.root = root
        self.at = at
        self.problems: list[Problem] = []
        self.doubtful: list[KeyPath] = []

    def report(self, at: KeyPath, message: str) -> object:
        self.problems.append(Problem(key=render_key(at), message=message))
        self.doubtful.append(at)
        return _WRONG

    def refuse(
        self, shape: Shape, value: object, at: KeyPath, *, advice: str | None = None
    ) -> object:
        """Report a value of another type than `shape` wants."""
        expected = expect_shape(shape, render_key(at))
        advice = advice or advise(shape, value)
        tail = f"; {advice}" if advice else ""
        return self.report(at, f"expected {expected}, not {show_value(value)}{tail}")

    def read(self, shape: Shape, value: object, at: KeyPath) -> object:
        match shape:
            case Text():
                return self.read_text(shape, value, at)
            case Many():
                return self.read_many(shape, value, at)
            case Record():
                return self.read_record(shape, value, at)
            case Table():
                return self.read_free(shape, value, at)
            case Number():
                return self.read_number(shape, value, at)
            case Json():
                return self.read_json(value, at)
            case Choice():
                return value if value in shape.values else self.refuse_choice(shape, value, at)
            case Flag():
                return value if isinstance(value, bool) else self.refuse(shape, value, at)

    def read_text(self, shape: Text, value: object, at: KeyPath) -> object:
        if not isinstance(value, str):
            return self.refuse(shape, value, at)
        return self.check(shape.format, value, at)

    def check(self, format: Format | None, text: str, at: KeyPath) -> object:  # noqa: A002
        if "\0" in text:  # no path, argument or variable can hold it
            return self.report(at, "expected a text without the character NUL, such as `text`")
        problem = format.check(text) if format else None
        return text if problem is None else self.report(at, problem)

    def refuse_choice(self, shape: Choice, value: object, at: KeyPath) -> object:
        if not isinstance(value, str):
            return self.refuse(shape, value, at)
        nearest = next((v for v in shape.values if v.lower() == value.lower()), None)
        nearest = nearest or find_nearest(value, shape.values)
        tail = f"; did you mean `{nearest}`?" if nearest else ""
        expected = expect_shape(shape, render_key(at))
        return self.report(at, f"expected {expected}, not {show_value(value)}{tail}")

    def read_number(self, shape: Number, value: object, at: KeyPath) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return self.refuse(shape, value, at)
        if isinstance(value, float) and (shape.whole or not math.isfinite(value)):
            return self.refuse(shape, value, at)
        if abs(value) > LARGEST or (shape.range and not shape.range.holds(value)):
            return self.refuse(shape, value, at)
        return value if shape.whole else float(value)

    def read_many(self, shape: Many, value: object, at: KeyPath) -> object:
        if not isinstance(value, list):
            return self.refuse(shape, value, at)
        found = [self.read(shape.item, item, (*at, n)) for n, item in enumerate(value)]
        if shape.items:
            self.check_items(shape, shape.items, value, at)
        return tuple(item for item in found if item is not _WRONG)

    def check_items(self, shape: Many, items: Items, value: list[object], at: KeyPath) -> None:
        if len(value) < items.least:
            example = render_example(shape)
            self.report(at, f"expected a list that is not empty, such as `{example}`")
        if items.unique:
            for n, item in enumerate(value):
                if isinstance(item, str) and item in value[:n]:
                    text = show_value(item)
                    self.report((*at, n), f"expected each once, and {text} comes twice")

    def read_free(self, shape: Table, value: object, at: KeyPath) -> object:
        if not isinstance(value, dict):
            return self.refuse(shape, value, at)
        found = {}
        for key, item in value.items():
            here = (*at, key)
            if self.check(shape.keys, key, here) is not _WRONG:
                found[key] = self.read(shape.value, item, here)
        return {key: item for key, item in found.items() if item is not _WRONG}

    def read_json(self, value: object, at: KeyPath) -> object:
        problems = len(self.problems)
        for place, item in _walk_json(value, at):
            if isinstance(item, float) and not math.isfinite(item):
                self.report(place, f"expected a number that JSON has, such as `1.5`, not `{item}`")
            elif not isinstance(item, str | int | float | list | dict) or _is_huge(item):
                found = show_value(item)
                self.report(place, f"expected a value that JSON has, such as `1.5`, not {found}")
        return value if len(self.problems) == problems else _WRONG

    def read_record(self, record: Record, value: object, at: KeyPath) -> object:
        if not isinstance(value, Mapping):
            return self.refuse(record, value, at)
        found: dict[str, object] = {}
        for key, item in value.items():
            slot = record.slots.get(key)
            if slot is None:
                self.refuse_key(record, key, at)
                continue
            if (meant := find_meant(record, slot, item)) is not None:
                self.refuse(slot.shape, item, (*at, key), advice=f"did you mean `{meant.key}`?")
                self.doubtful.append((*at, meant.key))
                continue
            read = self.read(slot.shape, item, (*at, key))
            if read is not _WRONG:
                found[slot.name] = read
        for slot in record.slots.values():
            if slot.required and slot.name not in found:
                if slot.key not in value:
                    example = f"{slot.key} = {render_example(slot.shape)}"
                    self.report((*at, slot.key), f"missing; add a line such as `{example}`")
                found[slot.name] = _fill(slot.shape)
        return record.cls(**found)

    def refuse_key(self, record: Record, key: str, at: KeyPath) -> None:
        message, meant = explain_unknown(self.root, self.at, record, at, key)
        self.report((*at, key), message)
        self.doubtful.extend(meant)


def _is_huge(value: object) -> bool:
    return isinstance(value, int) and abs(value) > LARGEST


def _walk_json(value: object, at: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    waiting = [(at, value)]
    while waiting:
        place, item = waiting.pop()
        yield place, item
        if isinstance(item, dict):
            waiting += [((*place, key), below) for key, below in reversed(item.items())]
        elif isinstance(item, list):
            waiting += [((*place, n), below) for n, below in reversed([*enumerate(item)])]


def _fill(shape: Shape) -> object:
    """Return a right value that stands in for a required one which is missing or wrong."""
    match shape:
        case Text():
            return shape.format.example if shape.format else ""
        case Choice():
            return shape.values[0]
        case Number():
            return int(shape.range.example) if shape.range else 0
        case Flag():
            return False
        case Json():
            return None
        case Many():
            return ()
        case Table():
            return {}
        case Record():
            return shape.cls(**{s.name: _fill(s.shape) for s in shape.slots.values() if s.required})
