"""Parses `envbuild.lock` strictly: what envbuild did not write in this form is not a lock."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final, NoReturn, TypeVar

from envbuild.errors import LockError
from envbuild.lock.model import (
    LOCK_VERSION,
    BaseImage,
    CondaPackage,
    DebianPackage,
    LocalTree,
    Lock,
    PlatformLock,
    Source,
    Wheel,
)
from envbuild.lock.rows import COLUMNS, digest_content, digest_lock, order_lock, thaw_base
from envbuild.spec.platforms import PLATFORMS

__all__ = ["SIBLING", "parse_lock"]

SIBLING: Final = re.compile(r"conda-lock\.yml|requirements\.[a-z0-9-]+\.txt")
"""Names of the files that belong to a lock and lie beside it."""

_HEX: Final = re.compile(r"[0-9a-f]{64}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_A = TypeVar("_A", CondaPackage, DebianPackage, LocalTree, Source, Wheel)


_MAYBE: Final = ("sources", "trees", "build")
"""Lists that a platform has only where something is built or in the repository itself."""


class _UnfitError(Exception):
    """A value that no lock has: its dotted key, and what is wrong with it."""


def parse_lock(data: bytes, *, where: str) -> Lock:
    """Return the lock that `data` is, every list sorted.

    `where` names the file for people and ends in `NAME/envbuild.lock`. Raises `LockError`:
    `lock.syntax` where it is not TOML, `lock.version` for another format, `lock.edited` where
    it is damaged or was changed by hand.
    """
    table = _parse_toml(data, where)
    version = table.pop("version", None)
    if type(version) is int and version != LOCK_VERSION:
        raise LockError(
            "lock.version",
            f"`{where}` has format {version}, and this version of envbuild reads {LOCK_VERSION}",
            hint=f"to lock anew, run `nox -s lock -- {_name(where)}`",
        )
    try:
        if version is None or type(version) is not int:
            _refuse("version", "is not a number")
        return _read_lock(table)
    except _UnfitError as error:
        raise LockError(
            "lock.edited",
            f"`{where}` was edited by hand or damaged: {error}",
            hint="to keep its versions, restore it with "
            f"`git checkout -- lockfiles/{_name(where)}`; "
            f"to make it anew, run `nox -s lock -- {_name(where)}`",
        ) from None


def _name(where: str) -> str:
    return PurePosixPath(where).parent.name


def _parse_toml(data: bytes, where: str) -> dict[str, Any]:
    import tomli

    try:
        return tomli.loads(data.decode())
    except (UnicodeDecodeError, tomli.TOMLDecodeError, RecursionError) as error:
        merging = data.startswith(b"<<<<<<< ") or b"\n<<<<<<< " in data
        raise LockError(
            "lock.syntax",
            f"`{where}` has a merge conflict"
            if merging
            else f"`{where}` is not TOML: {_reason(error)}",
            hint=f"to make it anew, run `nox -s lock -- {_name(where)}`",
        ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return str(error) or "it is nested too deeply"


def _refuse(key: str, problem: str) -> NoReturn:
    raise _UnfitError(f"`{key}` {problem}")


def _read_lock(table: dict[str, Any]) -> Lock:
    top = _keys(table, "", ("content", "request", "tools", "files", "platforms"))
    platforms = _table(top["platforms"], "platforms")
    contents: dict[str, str] = {}
    for key in platforms:
        if key not in PLATFORMS:
            _refuse(f"platforms.{key}", "is no platform")
    lock = order_lock(
        Lock(
            request=_strings(top["request"], "request", _digest),
            platforms={key: _read_platform(key, platforms[key], contents) for key in platforms},
            files=_strings(top["files"], "files", _digest),
            tools=_strings(top["tools"], "tools", _text),
        )
    )
    for file in lock.files:
        if not SIBLING.fullmatch(file):
            _refuse(f"files.{file}", "is no lockfile")
    wanted = digest_lock(lock, contents)
    if _digest(top["content"], "content") != wanted:
        _refuse("content", "is not the digest of the rest")
    return lock


def _read_platform(platform: str, value: object, contents: dict[str, str]) -> PlatformLock:
    where = f"platforms.{platform}"
    keys = ("python", "glibc", "content", "debian", "conda", "wheels")
    table = _keys(_table(value, where), where, keys, optional=("base", *_MAYBE))
    lock = PlatformLock(
        platform=platform,
        python=_text(table["python"], f"{where}.python"),
        glibc=_text(table["glibc"], f"{where}.glibc"),
        base=_read_base(table["base"], f"{where}.base") if "base" in table else None,
        conda=_read_list(CondaPackage, table["conda"], f"{where}.conda"),
        wheels=_read_list(Wheel, table["wheels"], f"{where}.wheels"),
        debian=_read_list(DebianPackage, table["debian"], f"{where}.debian"),
        sources=_read_list(Source, table.get("sources", []), f"{where}.sources"),
        trees=_read_list(LocalTree, table.get("trees", []), f"{where}.trees"),
        build=_read_list(Wheel, table.get("build", []), f"{where}.build"),
    )
    contents[platform] = digest_content(lock)
    if _digest(table["content"], f"{where}.content") != contents[platform]:
        _refuse(f"{where}.content", "is not the digest of this platform's packages")
    return lock


def _read_base(value: object, where: str) -> BaseImage:
    table = _keys(_table(value, where), where, tuple(_BASE_CHECKS))
    for key, check in _BASE_CHECKS.items():
        check(table[key], f"{where}.{key}")
    return thaw_base(table)


def _read_list(kind: type[_A], value: object, where: str) -> tuple[_A, ...]:
    if not isinstance(value, list):
        _refuse(where, "is not a list")
    return tuple(_read_artifact(kind, item, f"{where}[{i}]") for i, item in enumerate(value))


def _read_artifact(kind: type[_A], value: object, where: str) -> _A:
    table = _keys(_table(value, where), where, COLUMNS[kind])
    artifact = kind(
        **{key: _CHECKS.get(key, _text)(item, f"{where}.{key}") for key, item in table.items()}
    )
    if kind is CondaPackage and not artifact.size:
        _refuse(f"{where}.size", "is 0")
    return artifact


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(where, "is not a table")
    return value


def _keys(
    table: dict[str, Any], where: str, keys: tuple[str, ...], *, optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    for key in keys:
        if key not in table:
            _refuse(f"{where}.{key}".lstrip("."), "is missing")
    for key in table:
        if key not in keys and key not in optional:
            _refuse(f"{where}.{key}".lstrip("."), "is unknown")
    return table


def _strings(value: object, where: str, check: Callable[[object, str], str]) -> Mapping[str, str]:
    table = _table(value, where)
    return {key: check(item, f"{where}.{key}") for key, item in table.items()}


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        _refuse(where, "is not a string")
    return value


def _digest(value: object, where: str) -> str:
    if not _DIGEST.fullmatch(_text(value, where)):
        _refuse(where, "is not `sha256:` and 64 hex digits")
    return str(value)


def _sha256(value: object, where: str) -> str:
    if not _HEX.fullmatch(_text(value, where)):
        _refuse(where, "is not 64 hex digits")
    return str(value)


def _size(value: object, where: str) -> int:
    if type(value) is not int or value < 0:
        _refuse(where, "is not a number of bytes")
    return value


def _filename(value: object, where: str) -> str:
    """Refuse what would leave the folder that downloads go to."""
    text = _text(value, where)
    if "/" in text or "\0" in text or text in {"", ".", ".."}:
        _refuse(where, "is not a file name")
    return text


def _path(value: object, where: str) -> str:
    for part in _text(value, where).split("/"):
        _filename(part, where)
    return str(value)


def _url(value: object, where: str) -> str:
    _filename(_text(value, where).rsplit("/", 1)[-1], where)
    return str(value)


def _kind(value: object, where: str) -> str:
    if value not in {"file", "git", "sdist"}:
        _refuse(where, "is no kind of source")
    return str(value)


def _place(value: object, where: str) -> str:
    """Refuse what would lead out of the repository, where it is a path."""
    text = _text(value, where)
    if "\0" in text or text.startswith("/") or ".." in text.split("/"):
        _refuse(where, "is no place of a source")
    return text


def _folder(value: object, where: str) -> str:
    return "" if value == "" else _place(value, where)


def _truth(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        _refuse(where, "is neither true nor false")
    return value


def _texts(value: object, where: str) -> Mapping[str, str]:
    return _strings(value, where, _text)


_BASE_CHECKS: Final[Mapping[str, Callable[[object, str], Any]]] = {
    "reference": _text,
    "digest": _digest,
    "system": _text,
    "libc": _text,
    "libc-version": _text,
    "shell": _truth,
    "pythons": _texts,
}

_CHECKS: Final[Mapping[str, Callable[[object, str], Any]]] = {
    "sha256": _sha256,
    "size": _size,
    "filename": _filename,
    "path": _path,
    "url": _url,
    "kind": _kind,
    "place": _place,
    "subdirectory": _folder,
    "wheel": _sha256,
    "needs": _digest,
    "config": _digest,
}
