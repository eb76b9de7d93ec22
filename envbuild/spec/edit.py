"""Edits the text of a spec: adds and removes requirements, and keeps comments and layout.

Pure: bytes in, bytes out. What comes out has to be read as a spec before it is written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal, get_args

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
from envbuild.spec.keys import KeyPath
from envbuild.spec.same import is_replaced
from envbuild.spec.toml_edit import drop_empty, edit_list
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


def list_key(manager: Manager, platform: str | None = None) -> KeyPath:
    """Return the place in a spec of what all platforms, or one, ask of a manager."""
    own = (manager, _KEYS[manager])
    return own if platform is None else ("platform", platform, *own)


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


def add_requirement(
    data: bytes, requirement: str, manager: Manager, *, platform: str | None = None, where: str
) -> bytes:
    """Return the spec with a requirement more, or with it in place of the one of its name.

    With `platform`, only that one gets it. `where` names the file in messages. Raises `SpecError`:
    `spec.requirement` for a text that is none, and those of `edit_list`.
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

    return edit_list(data, list_key(manager, platform), change, where=where)


def remove_requirement(
    data: bytes,
    name: str,
    manager: Manager,
    *,
    platform: str | None = None,
    made: Collection[KeyPath] = (),
    where: str,
) -> bytes:
    """Return the spec without what it asks of `manager` by this name; unchanged without any.

    What is empty then and among the places `made` goes, too. Raises `SpecError` as
    `add_requirement` does.
    """
    key = list_key(manager, platform)

    def change(texts: list[str], written: str) -> str:
        for n in reversed(find_requirements(texts, manager, name)):
            written = _remove(texts, written, n)
        return written

    return drop_empty(edit_list(data, key, change, where=where), key, made, where=where)


def _remove(texts: list[str], written: str, index: int) -> str:
    del texts[index]
    return remove_item(written, index)
