"""Says in plain words why two images have different tags: which field moved, which package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["DIFFERENCE_COLUMNS", "Difference", "explain", "render_differences"]

DIFFERENCE_COLUMNS: Final = ("what", "change", "before", "after")
"""Headings of what `render_differences` returns."""

_VERSION_FIELD: Final = "envbuild-identity"
_WORDS: Final = {
    "platform": "platform",
    "prefix": "folder of the environment",
    "python-minor": "version of Python",
    "interpreter": "Python outside the environment",
    "user": "user of the image",
    "assembler": "envbuild's way of making layers",
    "bytecode": "Python that compiles byte code",
    "link-scripts": "what becomes of conda's link scripts",
    "managed": "environment by envbuild",
}
_TABLE_WORDS: Final = {
    "format": "format,",
    "labels": "label",
    "sources": "source",
    "plan": "envbuild's plan of layers,",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One thing that differs: `field` of the identity, and `what` it is for people.

    `change` is `added`, `removed`, `changed`, or for a package `other version`, `other build` or
    `other content` (the same version and build with another hash). `before` is empty for what was
    added, `after` for what was removed; otherwise an empty value shows as `none`.
    """

    field: str
    what: str
    change: str
    before: str
    after: str


def explain(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return how two identities (as `identity_fields` makes them) differ, packages last.

    Empty where, and only where, their digests are equal. Identities of two versions of the format
    differ in that alone, for their fields can't be compared.
    """
    versions = old.get(_VERSION_FIELD), new.get(_VERSION_FIELD)
    if versions[0] != versions[1]:
        what = "envbuild's list of what counts"
        return (_changed(_VERSION_FIELD, what, *map(_show, versions)),)
    return (*_explain_fields(old, new), *_explain_packages(old, new))


def render_differences(differences: Iterable[Difference]) -> tuple[tuple[str, ...], ...]:
    """Return a row of text for each difference, under `DIFFERENCE_COLUMNS`."""
    return tuple((d.what, d.change, d.before, d.after) for d in differences)


def _changed(field: str, what: str, before: str, after: str) -> Difference:
    return Difference(field=field, what=what, change="changed", before=before, after=after)


def _explain_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    """Give what differs besides packages, in the order of the newer list of fields."""
    for field in {**new, **old}:
        before, after = old.get(field), new.get(field)
        if field in {"artifacts", "local"} or before == after:
            continue
        if field == "base":
            yield _changed(field, "base", _show_base(before), _show_base(after))
        elif field in _TABLE_WORDS:  # where nothing is in it, it may not be there
            yield from _explain_table(field, before or {}, after or {})
        else:
            yield _changed(field, _WORDS.get(field, f"`{field}`"), _show(before), _show(after))


def _explain_table(
    field: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[Difference]:
    for key in sorted({*old, *new}):
        what = f"{_TABLE_WORDS.get(field, field)} `{key}`"
        if key not in old:
            yield _entry(f"{field}.{key}", what, "added", "", _show(new[key]))
        elif key not in new:
            yield _entry(f"{field}.{key}", what, "removed", _show(old[key]), "")
        elif old[key] != new[key]:
            yield _changed(f"{field}.{key}", what, _show(old[key]), _show(new[key]))


def _entry(field: str, what: str, change: str, before: str, after: str) -> Difference:
    return Difference(field=field, what=what, change=change, before=before, after=after)


def _show(value: object) -> str:
    return "none" if value is None or value == "" else str(value)


def _show_base(base: Any) -> str:
    """Return a base in words: an image by its digest, or what it is made of."""
    kind = base.get("kind") if isinstance(base, Mapping) else None
    if kind == "image":
        return f"image {base['digest']}"
    return {"debian": "Debian packages", "scratch": "nothing (`scratch`)"}.get(
        str(kind), _show(kind)
    )


_Row = tuple[str, str, str, int]
_Rows = dict[tuple[str, str], Counter[_Row]]


def _explain_packages(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    before, after = _group(old), _group(new)
    for key in sorted({*before, *after}):
        ours, theirs = before.get(key, Counter()), after.get(key, Counter())
        gone = list((ours - theirs).elements())
        come = list((theirs - ours).elements())
        if len(gone) == len(come) == 1:
            yield _explain_package(key, gone[0], come[0])
            continue
        for version, build, *_ in gone:
            yield _package(key, "removed", _join(version, build), "")
        for version, build, *_ in come:
            yield _package(key, "added", "", _join(version, build))


def _group(fields: Mapping[str, Any]) -> _Rows:
    """Return the rows of each package by manager and name; mostly one of each."""
    rows: _Rows = {}
    listed = (*fields.get("artifacts", ()), *fields.get("local", ()))
    for manager, name, version, build, sha256, size in listed:
        rows.setdefault((manager, name), Counter())[version, build, sha256, size] += 1
    return rows


def _join(version: str, build: str) -> str:
    return f"{version} {build}".strip()


def _package(key: tuple[str, str], change: str, before: str, after: str) -> Difference:
    manager, name = key
    return _entry(f"artifacts.{manager}.{name}", f"{name} ({manager})", change, before, after)


def _explain_package(key: tuple[str, str], old: _Row, new: _Row) -> Difference:
    if old[0] != new[0]:
        return _package(key, "other version", old[0], new[0])
    if old[1] != new[1]:
        return _package(key, "other build", _join(*old[:2]), _join(*new[:2]))
    if old[2] != new[2]:
        return _package(key, "other content", f"sha256:{old[2][:12]}", f"sha256:{new[2][:12]}")
    return _package(key, "other size", f"{old[3]} bytes", f"{new[3]} bytes")
