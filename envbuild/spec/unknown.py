"""What to say of a key that is not known: the name that was meant, or the table it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from envbuild.spec.keys import KeyPath, find_nearest, render_key
from envbuild.spec.phrases import join_names
from envbuild.spec.shapes import Many, Record, Shape, Slot, Table, Text

__all__ = ["explain_unknown", "find_meant"]

_SYNONYMS: Final = {
    "args": "arguments",
    "cmd": "command",
    "environment-variables": "env",
    "packages": "dependencies",
    "requirements": "dependencies",
    "variables": "env",
}


def explain_unknown(
    root: Record, top: KeyPath, record: Record, at: KeyPath, key: str
) -> tuple[str, list[KeyPath]]:
    """Return a message on the unknown `key` of the `record` at `at`, and the places it may mean.

    `root` is the record of the whole file, which stands at `top`.
    """
    name = key.replace("_", "-").lower()
    if name == "name" and at == ():
        return "unknown key; an environment's name is that of its file, `envs/NAME.toml`", []
    synonym = _SYNONYMS.get(name)
    nearest = synonym if synonym in record.slots else find_nearest(name, record.slots)
    homes = [place for place, found in _walk_records(root, top) if name in found.slots]
    homes = [place for place in homes if place != at]
    meant = [(*place, name) for place in homes]
    if nearest:
        meant.append((*at, nearest))
    return _render(record, name, nearest, _render_homes(name, homes)), meant


def find_meant(record: Record, slot: Slot, value: object) -> Slot | None:
    """Return the other key of `record` that a value which can't be that of `slot` is for.

    It is the one that is called nearly the same, such as `platforms` where a list is in `platform`.
    """
    if not isinstance(slot.shape, Table | Record) or not isinstance(value, list | str):
        return None
    takers = [
        key
        for key, other in record.slots.items()
        if isinstance(other.shape, Many) and isinstance(other.shape.item, Text)
    ]
    nearest = find_nearest(slot.key, takers)
    return record.slots[nearest] if nearest else None


def _walk_records(record: Record, at: KeyPath) -> Iterator[tuple[KeyPath, Record]]:
    yield at, record
    for key, slot in record.slots.items():
        inner: Shape = slot.shape
        if isinstance(inner, Many):
            inner = inner.item
        if isinstance(inner, Record):
            yield from _walk_records(inner, (*at, key))
        elif isinstance(inner, Table) and isinstance(inner.value, Record):
            yield from _walk_records(inner.value, (*at, key, "NAME"))


def _render_homes(name: str, homes: list[KeyPath]) -> str:
    if () in homes:
        return f"`{name}` belongs at the top of the file, before the first `[table]`"
    if homes:
        tables = join_names([f"[{render_key(place)}]" for place in homes])
        return f"`{name}` is a key of {tables}"
    return ""


def _render(record: Record, name: str, nearest: str | None, homes: str) -> str:
    if nearest and homes and nearest != name:
        return f"unknown key; did you mean `{nearest}`? ({homes})"
    if nearest:
        return f"unknown key; did you mean `{nearest}`?"
    if homes:
        return f"unknown key here; {homes}"
    return f"unknown key; known here are {join_names(list(record.slots))}"
