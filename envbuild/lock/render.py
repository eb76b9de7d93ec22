"""Renders `envbuild.lock`: TOML with one line for each package, so that a diff can be reviewed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from envbuild.lock.model import LOCK_VERSION, Lock, PlatformLock
from envbuild.lock.rows import COLUMNS, Item, digest_content, digest_lock, freeze_base, sort_rows

__all__ = ["render_lock"]

_HEADER: Final = """\
# The lock of the environment `{name}`: exact, hashed artifacts for each platform.
# Made by `nox -s lock -- {name}`; what is edited by hand is refused.
# Commit it together with the files beside it.
"""

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_NOT_PLAIN: Final = re.compile(r"[^\x20-\x7e]")


def render_lock(lock: Lock, *, name: str) -> str:
    """Return the text of the lock of environment `name`; the same for every order of its lists."""
    contents = {key: digest_content(lock.platforms[key]) for key in sorted(lock.platforms)}
    blocks = [
        _HEADER.format(name=name)
        + f"version = {LOCK_VERSION}\n"
        + f"content = {_quote(digest_lock(lock, contents))}\n",
        _table("request", lock.request),
        _table("tools", lock.tools),
        _table("files", lock.files),
        *(_platform(lock.platforms[key], content) for key, content in contents.items()),
    ]
    return "\n".join(blocks)


def _table(title: str, values: Mapping[str, str]) -> str:
    lines = [
        f"[{title}]",
        *(f"{_key(key)} = {_quote(value)}" for key, value in sorted(values.items())),
    ]
    return "\n".join(lines) + "\n"


def _platform(lock: PlatformLock, content: str) -> str:
    lines = [
        f"[platforms.{_key(lock.platform)}]",
        f"python = {_quote(lock.python)}",
        f"glibc = {_quote(lock.glibc)}",
    ]
    if lock.base:
        lines.append(f"base = {_inline(freeze_base(lock.base).items())}")
    lines += [
        f"content = {_quote(content)}",
        *_array("debian", lock.debian),
        *_array("conda", lock.conda),
        *_array("wheels", lock.wheels),
    ]
    for title, items in (("sources", lock.sources), ("trees", lock.trees), ("build", lock.build)):
        if items:
            lines += _array(title, items)
    return "\n".join(lines) + "\n"


def _array(title: str, artifacts: tuple[Item, ...]) -> Iterator[str]:
    if not artifacts:
        yield f"{title} = []"
        return
    columns = COLUMNS[type(artifacts[0])]
    yield f"{title} = ["
    for row in sort_rows(artifacts):
        yield f"  {_inline(zip(columns, row, strict=True))},"
    yield "]"


def _inline(pairs: Iterable[tuple[str, Any]]) -> str:
    inner = ", ".join(f"{_key(key)} = {_value(value)}" for key, value in pairs)
    return f"{{ {inner} }}" if inner else "{}"


def _value(value: str | int | Mapping[str, str]) -> str:
    if isinstance(value, Mapping):
        return _inline(sorted(value.items()))
    if isinstance(value, bool):
        return str(value).lower()
    return _quote(value) if isinstance(value, str) else str(value)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _quote(key)


def _quote(text: str) -> str:
    """Return a TOML basic string; what a reader could not see is escaped."""
    return _NOT_PLAIN.sub(_escape, json.dumps(text, ensure_ascii=False))


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
