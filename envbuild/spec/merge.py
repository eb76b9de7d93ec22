"""Merges a spec's plain table over that of its parent, by rules that fit on half a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from envbuild.spec.formats import find_conda_name, find_pip_name
from envbuild.spec.keys import KeyPath

__all__ = ["MERGE_RULES", "find_conflicts", "find_idle", "find_name", "merge_tables", "name_kind"]

MERGE_RULES: Final = tuple(
    """\
A text, number or `true` of the child replaces the parent's.
Tables are merged key by key.
Lists of packages (`conda.dependencies`; `pip.dependencies`, `pip.constraints` and \
`pip.overrides`; `system.packages`; those of `[platform.NAME]` too) are put together: the \
parent's entries first, \
without those whose package the child names as well.
Any other list (`platforms`, `conda.channels`, `image.source`, `train.arguments`, \
`smoke.request`, ...) of the \
child replaces the parent's.
`without` of `[conda]`, `[pip]` or `[system]` names packages that are not taken over from the \
parents.
What excludes each other is taken as one: a child that names `image.base` or `image.dockerfile` \
takes neither from the parent, nor what belongs to a Dockerfile; likewise `smoke.entry-script` and \
`smoke.command`.
`description` and `extends` are not inherited.
A key that is a table in one file and something else in the other is an error, and so is a list \
against a text.""".splitlines()
)
"""The rules in sentences, for the reference."""

Table = Mapping[str, object]

_NAMES: Final[Mapping[str, Callable[[str], str]]] = {
    "conda": find_conda_name,
    "pip": find_pip_name,
    "system": str.strip,
}
_PACKAGE_LISTS: Final = {
    "conda": ("dependencies",),
    "pip": ("dependencies", "constraints", "overrides"),
    "system": ("packages",),
}
_WITHOUT: Final = "without"
_OWN: Final = ("description", "extends")
# A choice and what it brings along: by the keys that make it, all keys that are replaced by it.
_CHOICES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "image": (
        ("base", "dockerfile"),
        ("base", "dockerfile", "context", "build-args", "build-secrets", "build-target"),
    ),
    "smoke": (("entry-script", "command"), ("entry-script", "command")),
}


def merge_tables(parent: Table, child: Table) -> dict[str, object]:
    """Return `child` over `parent`; where the two are of different kinds, the child's value.

    Neither is changed. The empty table changes nothing but the parent's `description`.
    """
    return _merge({k: v for k, v in parent.items() if k not in _OWN}, child, ())


def _merge(parent: Table, child: Table, at: KeyPath) -> dict[str, object]:
    merged = _drop_choices(parent, child, at)
    for key, value in child.items():
        here = (*at, key)
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            merged[key] = _merge(old, value, here)
        elif isinstance(value, list) and isinstance(old, list) and _is_joined(here):
            merged[key] = _join(old, value, here)
        else:
            merged[key] = value
    return _drop_packages(merged, child, at)


def _drop_choices(parent: Table, child: Table, at: KeyPath) -> dict[str, object]:
    makers, replaced = _CHOICES.get(str(at[0]), ((), ())) if len(at) == 1 else ((), ())
    chosen = any(key in child for key in makers)
    return {key: value for key, value in parent.items() if not (chosen and key in replaced)}


def _is_joined(at: KeyPath) -> bool:
    if len(at) == 4 and at[0] == "platform":
        at = at[2:]
    if len(at) != 2 or at[0] not in _PACKAGE_LISTS:
        return False
    return at[1] in _PACKAGE_LISTS[at[0]] or at[1] == _WITHOUT


def _join(parent: list[object], child: list[object], at: KeyPath) -> list[object]:
    if at[-1] == _WITHOUT:
        return [*parent, *(item for item in child if item not in parent)]
    names = {find_name(str(at[-2]), item) for item in child}
    kept = [item for item in parent if find_name(str(at[-2]), item) not in names]
    return [*kept, *child]


def find_name(table: str, item: object) -> str:
    """Return the normalised name of the package that an entry of a list in `table` asks for."""
    name = _NAMES[table](item) if isinstance(item, str) else ""
    return name or repr(item)


def _drop_packages(merged: dict[str, object], child: Table, at: KeyPath) -> dict[str, object]:
    """Take out of the lists what `child` doesn't want of its parent."""
    if len(at) != 1 or at[0] not in _PACKAGE_LISTS:
        return merged
    table = str(at[0])
    dropped = {find_name(table, item) for item in _as_list(child.get(_WITHOUT))}
    for key in _PACKAGE_LISTS[table] if dropped else ():
        own = _as_list(child.get(key))
        if isinstance(old := merged.get(key), list):
            merged[key] = [i for i in old if i in own or find_name(table, i) not in dropped]
    return merged


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def find_conflicts(parent: Table, child: Table, at: KeyPath = ()) -> Iterator[KeyPath]:
    """Give the places where the two are of different kinds: table, list, or neither."""
    for key, value in child.items():
        if key not in parent:
            continue
        old = parent[key]
        if name_kind(value) != name_kind(old):
            yield (*at, key)
        elif isinstance(value, Mapping) and isinstance(old, Mapping):
            yield from find_conflicts(old, value, (*at, key))


def name_kind(value: object) -> str:
    """Return what `value` is as far as merging goes, in words."""
    if isinstance(value, Mapping):
        return "a table"
    return "a list" if isinstance(value, list) else "a single value"


def find_idle(parent: Table, child: Table) -> Iterator[KeyPath]:
    """Give the places of what `child` wants to be without and `parent` hasn't."""
    for table, keys in _PACKAGE_LISTS.items():
        own, old = child.get(table), parent.get(table)
        wanted = _as_list(own.get(_WITHOUT)) if isinstance(own, Mapping) else []
        lists = [_as_list(old.get(key)) for key in keys] if isinstance(old, Mapping) else []
        there = {find_name(table, item) for items in lists for item in items}
        for n, item in enumerate(wanted):
            if isinstance(item, str) and find_name(table, item) not in there:
                yield (table, _WITHOUT, n)
