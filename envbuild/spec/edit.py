"""Edits the text of a spec: adds and removes requirements, and keeps comments and layout.

Pure: bytes in, bytes out. What comes out has to be read as a spec before it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final, Literal, get_args

from envbuild.errors import SpecError
from envbuild.spec.formats import (
    CONDA_SPEC,
    DEBIAN_PACKAGE,
    REQUIREMENT,
    Format,
    find_conda_name,
    find_pip_name,
    show_text,
)
from envbuild.spec.keys import KeyPath, render_key
from envbuild.spec.same import is_replaced
from envbuild.spec.toml import parse_toml
from envbuild.spec.toml_list import add_item, remove_item, replace_item

__all__ = [
    "MANAGERS",
    "Manager",
    "add_requirement",
    "find_name",
    "find_requirements",
    "list_key",
    "remove_requirement",
]

Manager = Literal["conda", "pip", "system"]
"""Who installs a requirement; what the spec's tables are called."""

MANAGERS: Final[tuple[Manager, ...]] = get_args(Manager)

_KEYS: Final = {"conda": "dependencies", "pip": "dependencies", "system": "packages"}
_FORMATS: Final[Mapping[Manager, Format]] = {
    "conda": CONDA_SPEC,
    "pip": REQUIREMENT,
    "system": DEBIAN_PACKAGE,
}


def list_key(manager: Manager) -> KeyPath:
    """Return the place of the list of a manager's requirements in a spec."""
    return manager, _KEYS[manager]


def find_name(manager: Manager, requirement: str) -> str:
    """Return the name of the package that is asked for, as all spellings of it have it."""
    if manager == "pip":
        return find_pip_name(requirement)
    return find_conda_name(requirement) if manager == "conda" else requirement.strip().lower()


def find_requirements(requirements: Sequence[str], manager: Manager, name: str) -> list[int]:
    """Return where among `requirements` the package `name` is, in whatever spelling.

    Of conda, where `a-b` and `a_b` may be two packages, the very name is looked for first.
    """
    names = [find_name(manager, text) for text in requirements]
    wanted = find_name(manager, name)
    found = [n for n, own in enumerate(names) if own == wanted]
    if found or manager == "system":
        return found
    loose = find_pip_name(name)
    return [n for n, own in enumerate(names) if find_pip_name(own) == loose]


def add_requirement(data: bytes, requirement: str, manager: Manager, *, where: str) -> bytes:
    """Return the spec with a requirement more, or with it in place of the one of its name.

    `where` names the file in messages. Raises `SpecError`: `spec.requirement` for a text that is
    none, `spec.layout` for a file in which the list can't be found, and those of `parse_toml`.
    """
    problem = _FORMATS[manager].check(requirement)
    if problem:
        shown = show_text(requirement)
        raise SpecError("spec.requirement", f"{shown} can't be added to `{manager}`: {problem}")

    def change(texts: list[str], written: str) -> str:
        old = [
            n for n in find_requirements(texts, manager, find_name(manager, requirement))
            if manager != "pip" or is_replaced(texts[n], requirement)
        ]  # fmt: skip
        for n in reversed(old[1:]):
            written = _remove(texts, written, n)
        if not old:
            texts.append(requirement)
            return add_item(written, requirement)
        if texts[old[0]] == requirement:
            return written
        texts[old[0]] = requirement
        return replace_item(written, old[0], requirement)

    return _edit(data, list_key(manager), change, where=where)


def remove_requirement(data: bytes, name: str, manager: Manager, *, where: str) -> bytes:
    """Return the spec without what it asks of `manager` by this name; unchanged without any.

    Raises `SpecError` as `add_requirement` does.
    """

    def change(texts: list[str], written: str) -> str:
        for n in reversed(find_requirements(texts, manager, name)):
            written = _remove(texts, written, n)
        return written

    return _edit(data, list_key(manager), change, where=where)


def _remove(texts: list[str], written: str, index: int) -> str:
    del texts[index]
    return remove_item(written, index)


_Change = Callable[[list[str], str], str]
"""Changes the strings of a list in place, and returns its text changed in the same way."""


def _edit(data: bytes, key: KeyPath, change: _Change, *, where: str) -> bytes:
    text, table = parse_toml(data, where=where)
    crlf = "\r\n" in text and text.count("\r\n") == text.count("\n")
    plain = text.replace("\r\n", "\n") if crlf else text
    wanted = deepcopy(table)
    try:
        edited = _edit_text(plain, wanted, key, change)
        ok = edited == plain or parse_toml(edited.encode(), where=where)[1] == wanted
    except _find_failures():
        ok = False
    if not ok:
        raise SpecError(
            "spec.layout",
            f"`{render_key(key)}` can't be edited in the way that `{where}` is written",
            hint=f"change `{where}` by hand, then lock it with `nox -s lock`",
        )
    start = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
    return start + (edited.replace("\n", "\r\n") if crlf else edited).encode()


def _find_failures() -> tuple[type[Exception], ...]:
    from tomlkit.exceptions import TOMLKitError

    return TOMLKitError, SpecError, TypeError, AttributeError


def _edit_text(text: str, table: dict[str, Any], key: KeyPath, change: _Change) -> str:
    """Return `text` with the list at `key` changed, and change `table` in the same way."""
    import tomlkit

    *places, last = (str(part) for part in key)
    found: dict[str, Any] = table
    for place in places:
        found = found.setdefault(place, {})
    texts = found.setdefault(last, [])
    document: Any = tomlkit.parse(text)
    owner, missing = document, False
    for place in places:
        missing = place not in owner
        if missing:
            break
        owner = owner[place]
    before = owner[last].as_string() if not missing and last in owner else "[]"
    after = change(texts, before)
    if after == before:
        return text
    if missing:
        return _append(text, f"[{render_key(key[:-1])}]\n{last} = {after}\n")
    value = tomlkit.parse(f"x = {after}\n")["x"]
    if last in owner:
        owner[last] = value
    else:
        _put(owner, last, value)
    return tomlkit.dumps(document)


def _append(text: str, table: str) -> str:
    whole = text if not text or text.endswith("\n") else f"{text}\n"
    return f"{whole}\n{table}" if whole.strip() else f"{whole}{table}"


def _put(owner: Any, key: str, value: Any) -> None:
    """Add a key below the others of its table, above what the next table's comment may be."""
    from tomlkit.items import Table

    tail: list[Any] = []
    body = owner.value.body if isinstance(owner, Table) else []
    if any(name is not None for name, _ in body):
        while body and body[-1][0] is None:
            tail.insert(0, body.pop())
    owner[key] = value
    body.extend(tail)
