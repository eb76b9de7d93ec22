"""Edits a TOML file at one place, a list of texts, and keeps all else as it is written.

Pure: bytes in, bytes out. A table that is missing is written at the end of the file; `drop_empty`
knows it by that form, and takes it away again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from typing import Any

from envbuild.errors import SpecError
from envbuild.spec.keys import KeyPath, render_key
from envbuild.spec.toml import parse_toml

__all__ = ["drop_empty", "edit_list", "find_missing"]

Change = Callable[[list[str], str], str]
"""Changes the strings of a list in place, and returns its text changed in the same way."""


def edit_list(data: bytes, key: KeyPath, change: Change, *, where: str) -> bytes:
    """Return the file with the list at `key` changed, which is made where it is missing.

    `where` names the file in messages. Raises `SpecError`: `spec.layout` for a file in which the
    list can't be found, and those of `parse_toml`.
    """
    edited = _rewrite(data, lambda text, table: _edit_text(text, table, key, change), where=where)
    if edited is None:
        raise SpecError(
            "spec.layout",
            f"`{render_key(key)}` can't be edited in the way that `{where}` is written",
            hint=f"change `{where}` by hand, then lock it with `nox -s lock`",
        )
    return edited


def drop_empty(data: bytes, key: KeyPath, made: Collection[KeyPath], *, where: str) -> bytes:
    """Return the file without the list at `key` if it is empty, and without its empty tables.

    Only places in `made` go, in the form that `edit_list` gives them: what somebody has written a
    comment to stays, and so does the whole file if nothing else will do.
    """
    if key not in made:
        return data
    edited = _rewrite(data, lambda text, table: _drop_text(text, table, key, made), where=where)
    return data if edited is None else edited


def find_missing(table: Mapping[str, object], key: KeyPath) -> set[KeyPath]:
    """Return which of the tables that lead to `key`, and itself, `table` doesn't have."""
    found: object = table
    for n, part in enumerate(key):
        if not isinstance(found, Mapping) or part not in found:
            return {key[:end] for end in range(n + 1, len(key) + 1)}
        found = found[part]
    return set()


def _rewrite(
    data: bytes, edit: Callable[[str, dict[str, Any]], str], *, where: str
) -> bytes | None:
    """Return the file as `edit` makes it of text and table, or None if the two come to differ."""
    text, table = parse_toml(data, where=where)
    crlf = "\r\n" in text and text.count("\r\n") == text.count("\n")
    plain = text.replace("\r\n", "\n") if crlf else text
    wanted = deepcopy(table)
    try:
        edited = edit(plain, wanted)
        ok = edited == plain or parse_toml(edited.encode(), where=where)[1] == wanted
    except _find_failures():
        ok = False
    if not ok:
        return None
    start = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
    return start + (edited.replace("\n", "\r\n") if crlf else edited).encode()


def _find_failures() -> tuple[type[Exception], ...]:
    from tomlkit.exceptions import TOMLKitError

    return TOMLKitError, SpecError, TypeError, AttributeError


def _edit_text(text: str, table: dict[str, Any], key: KeyPath, change: Change) -> str:
    """Return `text` with the list at `key` changed, and change `table` in the same way."""
    import tomlkit
    from tomlkit.items import InlineTable

    *places, last = (str(part) for part in key)
    found: dict[str, Any] = table
    for place in places:
        found = found.setdefault(place, {})
    texts = found.setdefault(last, [])
    document: Any = tomlkit.parse(text)
    owner, missing = document, places
    while missing and missing[0] in owner:
        owner, missing = owner[missing[0]], missing[1:]
    before = owner[last].as_string() if not missing and last in owner else "[]"
    after = change(texts, before)
    if after == before:
        return text
    if missing and not isinstance(owner, InlineTable):
        return _append(text, _render_table(key, after))
    value = tomlkit.parse(f"x = {after}\n")["x"]
    for name in reversed([*missing, last][1:]):
        value, inner = tomlkit.inline_table(), value
        value[name] = inner
    if not missing and last in owner:
        owner[last] = value
    else:
        _put(owner, missing[0] if missing else last, value)
    return tomlkit.dumps(document)


def _render_table(key: KeyPath, items: str) -> str:
    return f"[{render_key(key[:-1])}]\n{key[-1]} = {items}\n"


def _append(text: str, table: str) -> str:
    whole = text if not text or text.endswith("\n") else f"{text}\n"
    return f"{whole}\n{table}" if whole.strip() else f"{whole}{table}"


def _put(owner: Any, key: str, value: Any) -> None:
    """Add a key below the others of its table, above what the next table's comment may be."""
    from tomlkit.items import InlineTable, Table

    if isinstance(owner, InlineTable) and owner and not owner.as_string().endswith(" }"):
        value.trivia.indent = " "
    tail: list[Any] = []
    body = owner.value.body if isinstance(owner, Table) else []
    if any(name is not None for name, _ in body):
        while body and body[-1][0] is None:
            tail.insert(0, body.pop())
    owner[key] = value
    body.extend(tail)


def _drop_text(text: str, table: dict[str, Any], key: KeyPath, made: Collection[KeyPath]) -> str:
    """Return `text` without what is empty at `key`, and change `table` in the same way."""
    places = [str(part) for part in key]
    tables: list[dict[str, Any]] = [table]
    for place in places[:-1]:
        tables.append(tables[-1].get(place, {}))
    if tables[-1].get(places[-1]) != []:
        return text
    alone = len(tables[-1]) == 1 and key[:-1] in made
    cut = _cut_table(text, _render_table(key, "[]")) if alone else None
    depth = len(places)
    while depth and key[:depth] in made and (depth == len(places) or not tables[depth]):
        depth -= 1
        del tables[depth][places[depth]]
    return cut if cut is not None else _drop_keys(text, places, places[depth:])


def _cut_table(text: str, table: str) -> str | None:
    """Return `text` without the table that `_append` wrote; None if it isn't there as it was."""
    start = 0 if text.startswith(table) else text.find(f"\n{table}") + 1
    if not start and not text.startswith(table):
        return None
    end = start + len(table)
    if text[end:] and not text[end:].startswith("\n"):
        return None
    return text[: start - 1 if text[:start].endswith("\n\n") else start] + text[end:]


def _drop_keys(text: str, places: Sequence[str], gone: Sequence[str]) -> str:
    """Return `text` without the last of `places`, or what of its tables goes with it."""
    import tomlkit
    from tomlkit.items import InlineTable

    document: Any = tomlkit.parse(text)
    owner = document
    for place in places[: len(places) - len(gone)]:
        owner = owner[place]
    item = owner[gone[0]]
    if item.trivia.comment or item.as_string() != _render_empty(gone):
        raise TypeError(gone)
    piece = f", {gone[0]} = {item.as_string()}"
    inline = owner.as_string() if isinstance(owner, InlineTable) else ""
    if piece in inline:  # tomlkit would leave the blank there
        return text.replace(inline, inline.replace(piece, "", 1), 1)
    del owner[gone[0]]
    return tomlkit.dumps(document)


def _render_empty(places: Sequence[str]) -> str:
    """Return how `edit_list` writes an empty list below inline tables."""
    text = "[]"
    for place in reversed(places[1:]):
        text = f"{{{place} = {text}}}"
    return text
