"""Random TOML tables: right ones for a dataclass, and wild ones around its keys."""

from __future__ import annotations

import datetime as dt
from typing import Any

from hypothesis import strategies as st

from envbuild.spec.shapes import (
    Choice,
    Flag,
    Json,
    Many,
    Number,
    Record,
    Shape,
    Slot,
    Table,
    Text,
)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
JSON = st.recursive(
    st.booleans() | TEXTS | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
TOML_SCALARS = (
    st.booleans() | st.integers() | st.floats() | TEXTS
    | st.dates() | st.times() | st.just(dt.datetime(2024, 5, 1, tzinfo=dt.UTC))
)  # fmt: skip


def right_values(shape: Shape) -> st.SearchStrategy[Any]:
    """Values that `shape` takes, as a TOML parser gives them."""
    match shape:
        case Text():
            plain = TEXTS.filter(lambda text: "\0" not in text)
            return st.sampled_from(shape.format.examples) if shape.format else plain
        case Choice():
            return st.sampled_from(shape.values)
        case Number():
            return _right_numbers(shape)
        case Flag():
            return st.booleans()
        case Json():
            return JSON
        case Many():
            least = shape.items.least if shape.items else 0
            unique = bool(shape.items and shape.items.unique)
            return st.lists(right_values(shape.item), min_size=least, max_size=3, unique=unique)
        case Table():
            keys = st.sampled_from(shape.keys.examples) if shape.keys else TEXTS
            return st.dictionaries(keys, right_values(shape.value), max_size=2)
        case Record():
            return right_tables(shape)


def _right_numbers(shape: Number) -> st.SearchStrategy[Any]:
    limits = shape.range
    least = -1000 if limits is None or limits.least is None else limits.least
    if limits is not None and limits.above is not None:
        least = limits.above + 1
    most = least + 1000 if limits is None or limits.most is None else limits.most
    whole = st.integers(least, most)
    return whole if shape.whole else whole | st.floats(least, most)


def right_tables(record: Record) -> st.SearchStrategy[dict[str, Any]]:
    """Tables that are right key by key; the rules between keys may still refuse them."""
    required = {s.key: right_values(s.shape) for s in record.slots.values() if s.required}
    optional = {s.key: right_values(s.shape) for s in record.slots.values() if not s.required}
    return st.fixed_dictionaries(required, optional=optional)


def wild_values(shape: Shape) -> st.SearchStrategy[Any]:
    """Anything TOML can say where `shape` is wanted, often something of nearly that shape."""
    anything = st.recursive(
        TOML_SCALARS,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
        max_leaves=4,
    )
    match shape:
        case Many():
            return anything | st.lists(wild_values(shape.item), max_size=3)
        case Table():
            return anything | st.dictionaries(TEXTS, wild_values(shape.value), max_size=3)
        case Record():
            return anything | wild_tables(shape)
    return anything | right_values(shape)


def wild_tables(record: Record) -> st.SearchStrategy[dict[str, Any]]:
    """Tables with some known and some unknown keys."""

    def wild(slot: Slot) -> st.SearchStrategy[Any]:
        return wild_values(slot.shape)

    known = st.fixed_dictionaries({}, optional={s.key: wild(s) for s in record.slots.values()})
    unknown = st.dictionaries(TEXTS, TOML_SCALARS, max_size=2)
    return st.builds(lambda a, b: {**b, **a}, known, unknown)
