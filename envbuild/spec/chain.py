"""A spec and what it stands on: its parents by `extends`, and the repository's defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from envbuild.errors import Problem, SpecError
from envbuild.spec.curated import RESERVED, find_curated, name_curated, read_curated
from envbuild.spec.formats import ENVIRONMENT_NAME
from envbuild.spec.keys import KeyPath, find_nearest, parse_key, render_key
from envbuild.spec.lines import find_lines
from envbuild.spec.merge import find_conflicts, find_idle, merge_tables, name_kind
from envbuild.spec.phrases import join_names
from envbuild.spec.toml import parse_toml

__all__ = ["DEFAULTS", "FindFile", "Source", "compose", "find_chain", "locate_problems"]

DEFAULTS: Final = ("tool", "envbuild", "defaults")
"""Where `pyproject.toml` has what all specs of a repository stand on."""

_SETTINGS: Final = "pyproject.toml"

FindFile = Callable[[str], bytes | None]
"""Returns what is in the file at a path of the repository, or None if there is no such file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One table of a chain: the file it is from, and the place it has there."""

    where: str
    text: str
    table: Mapping[str, object]
    at: KeyPath = ()


# Fifty specs with one parent parse it once; by content, so that no change goes unseen.
@lru_cache(maxsize=256)
def _parse(data: bytes, where: str) -> tuple[str, dict[str, object]]:
    if where == _SETTINGS:
        return parse_toml(data, where=where, room="settings")
    return parse_toml(data, where=where)


def find_chain(data: bytes, *, where: str, find: FindFile) -> tuple[Source, ...]:
    """Return the spec that `data` holds and all it stands on: that one last, defaults first.

    `where` is the spec's path, whose folder has its siblings. Raises `SpecError`: `spec.extends`
    for a parent that is missing, or that is the child too; those of `parse_toml` for each file.
    """
    chain = [_open(data, where)]
    seen = [where]
    while name := _find_parent(chain[0]):
        place, found = _find_file(name, where, find)
        seen.append(place)
        if place in seen[:-1]:
            raise _refuse(chain, seen, "goes in a circle", _say_cycle(place, seen))
        if found is None:
            raise _refuse(
                chain, seen, "extends an environment that doesn't exist", _say_missing(place, name)
            )
        chain.insert(0, _open(found, place))
    return (*find_defaults(find), *chain)


def _open(data: bytes, where: str) -> Source:
    text, table = _parse(data, where)
    return Source(where=where, text=text, table=table)


def _find_parent(source: Source) -> str | None:
    """Return what `extends` names; what can't be a name is for the reader to refuse."""
    name = source.table.get("extends")
    return name if isinstance(name, str) and ENVIRONMENT_NAME.check(name) is None else None


def _find_file(name: str, where: str, find: FindFile) -> tuple[str, bytes | None]:
    if name.startswith(RESERVED):
        return name_curated(name), read_curated(name)
    folder, slash, _ = where.rpartition("/")
    place = f"{folder}{slash}{name}.toml"
    return place, find(place)


def find_defaults(find: FindFile) -> Iterator[Source]:
    """Give the repository's defaults, if it has any. Raises `SpecError` as `find_chain` does."""
    data = find(_SETTINGS)
    if not data or b"envbuild" not in data or b"defaults" not in data:
        return
    text, table = _parse(data, _SETTINGS)
    found: object = table
    for key in DEFAULTS:
        found = found.get(key) if isinstance(found, Mapping) else None
    if isinstance(found, Mapping) and found:
        yield Source(where=_SETTINGS, text=text, table=found, at=DEFAULTS)


def _refuse(chain: Sequence[Source], seen: Sequence[str], what: str, reason: str) -> SpecError:
    """Return the error on the `extends` of the first of `chain`."""
    line = find_lines(chain[0].text, [("extends",)]).get(("extends",))
    problem = Problem(
        key="extends", message=reason, line=line, file=chain[0].where, inherited=len(chain) > 1
    )
    trail = " -> ".join(f"`{place}`" for place in seen)
    message = f"`{seen[0]}` {what}: {trail}"
    return SpecError("spec.extends", message, problems=(problem,))


def _say_cycle(place: str, seen: Sequence[str]) -> str:
    if seen[-2] == place:
        return "expected another environment, such as `base`, not the file's own"
    return f"expected an environment that doesn't extend this one, and `{place}` does"


def _say_missing(place: str, name: str) -> str:
    if name.startswith(RESERVED):
        nearest = find_nearest(name, find_curated())
        known = f"such as {join_names(list(find_curated()))}"
        near = f"did you mean `{nearest}`?" if nearest else known
        return f"expected an environment that comes with envbuild; {near}"
    return f"there is no `{place}`; expected the name of a file beside this one, such as `base`"


def compose(sources: Sequence[Source]) -> tuple[Mapping[str, object], list[Problem]]:
    """Return the one table that a chain makes, and what is wrong with putting it together."""
    merged, *rest = [_own(source) for source in sources]
    problems = list(_check_defaults(sources[0]))
    problems += [_say_idle(sources[0], place) for place in find_idle({}, merged)]
    for n, table in enumerate(rest, start=1):
        for place in find_conflicts(merged, table):
            problems.append(_say_conflict(place, sources, n))
        problems += [_say_idle(sources[n], place) for place in find_idle(merged, table)]
        merged = merge_tables(merged, table)
    return _drop_strangers(merged, sources[-1].table) if rest else merged, problems


def _drop_strangers(merged: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """Leave out inherited tables for platforms that the spec isn't locked for."""
    tables, named = merged.get("platform"), own.get("platform")
    wanted = merged.get("platforms", ["linux-64"])
    if not isinstance(tables, Mapping) or not isinstance(wanted, list):
        return dict(merged)
    mine = named if isinstance(named, Mapping) else {}
    return {**merged, "platform": {k: v for k, v in tables.items() if k in wanted or k in mine}}


def _own(source: Source) -> Mapping[str, object]:
    return {k: v for k, v in source.table.items() if not (source.at and k in _NOT_DEFAULTS)}


_NOT_DEFAULTS: Final = ("description", "extends")


def _check_defaults(source: Source) -> Iterator[Problem]:
    for key in _NOT_DEFAULTS if source.at else ():
        if key in source.table:
            message = f"expected what specs inherit, and `{key}` is each one's own; leave it out"
            yield Problem(key=render_key((*source.at, key)), message=message, file=source.where)


def _say_conflict(place: KeyPath, sources: Sequence[Source], n: int) -> Problem:
    older = next(s for s in reversed(sources[:n]) if _reaches(s.table, place) == len(place))
    wanted, found = (name_kind(_look(s.table, place)) for s in (older, sources[n]))
    message = f"expected {wanted}, as `{older.where}` has here, not {found}"
    key = render_key((*sources[n].at, *place))
    return Problem(key=key, message=message, file=sources[n].where)


def _say_idle(source: Source, place: KeyPath) -> Problem:
    item = _look(source.table, place)
    message = f"expected a package that comes from a parent, and none brings `{item}`; leave it out"
    return Problem(key=render_key((*source.at, *place)), message=message, file=source.where)


def _look(value: object, place: KeyPath) -> object:
    for part in place:
        value = value[part]  # type: ignore[index]
    return value


def _reaches(value: object, place: KeyPath) -> int:
    """Return how many parts of `place` there are in `value`."""
    for n, part in enumerate(place):
        try:
            value = value[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return n
    return len(place)


def locate_problems(
    problems: Sequence[Problem], sources: Sequence[Source], merged: Mapping[str, object]
) -> tuple[Problem, ...]:
    """Return `problems` by file and line: of the spec itself first, then of what it stands on.

    Those without a file are of the `merged` table, and find their file here.
    """
    placed = [p if p.file else _place(p, sources, merged) for p in problems]
    found: list[Problem] = []
    for source in reversed(sources):
        own = [problem for problem in placed if problem.file == source.where]
        found += _add_lines(own, source, named=source is not sources[-1])
    return tuple(found)


def _place(problem: Problem, sources: Sequence[Source], merged: Mapping[str, object]) -> Problem:
    place = parse_key(problem.key)
    source, there = _find_origin(place, sources, merged)
    return dataclasses.replace(problem, key=render_key((*source.at, *there)), file=source.where)


def _find_origin(
    place: KeyPath, sources: Sequence[Source], merged: Mapping[str, object]
) -> tuple[Source, KeyPath]:
    """Return the nearest file that has what is at `place` of `merged`, and its place there."""
    best, most = (sources[-1], place), 0
    for source in reversed(sources):
        there = _translate(place, source, merged)
        if there is not None and (depth := _reaches(source.table, there)) > most:
            best, most = (source, there), depth
    return best


def _translate(place: KeyPath, source: Source, merged: Mapping[str, object]) -> KeyPath | None:
    """Return the place in `source` of an item of a list that several files made together."""
    for n, part in enumerate(place):
        if isinstance(part, int):
            there = place[:n]
            if _reaches(source.table, there) < n or _reaches(merged, place[: n + 1]) <= n:
                return place
            items, item = _look(source.table, there), _look(merged, place[: n + 1])
            if items == _look(merged, there):
                return place
            if not isinstance(items, list) or item not in items:
                return None
            return (*there, items.index(item), *place[n + 1 :])
    return place


def _add_lines(problems: list[Problem], source: Source, *, named: bool) -> list[Problem]:
    keys = {parse_key(problem.key) for problem in problems}
    lines = find_lines(source.text, keys) if keys else {}
    located = [
        dataclasses.replace(p, line=lines.get(parse_key(p.key)), inherited=named) for p in problems
    ]
    return sorted(located, key=lambda problem: problem.line or 0)
