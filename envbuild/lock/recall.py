"""Keeps parsed locks as JSON, by the hash of their bytes: a warm load neither parses nor checks.

The memory is a help only: what is missing, damaged or can't be written is parsed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TypeVar

from envbuild.kit.files import write_atomic
from envbuild.kit.places import Cache
from envbuild.lock.model import (
    LOCK_VERSION,
    CondaPackage,
    DebianPackage,
    LocalTree,
    Lock,
    PlatformLock,
    Source,
    Wheel,
)
from envbuild.lock.rows import COLUMNS, freeze_base, sort_rows, thaw_base

__all__ = ["find_parsed", "remember_parsed"]

_T = TypeVar("_T", Source, LocalTree, Wheel)

_FORM: Final = json.dumps(
    [LOCK_VERSION, 3, [field.name for field in fields(PlatformLock)], *COLUMNS.values()]
).encode()
"""What the form of an entry depends on; its number is raised with any other change of form or
of what the parser refuses."""


def _entry(data: bytes, cache: Cache) -> Path:
    return cache.locks / f"{hashlib.sha256(_FORM + data).hexdigest()}.json"


def find_parsed(data: bytes, *, cache: Cache) -> Lock | None:
    """Return the lock that `data` was parsed into before, or None."""
    try:
        head, _, body = _entry(data, cache).read_bytes().partition(b"\n")
    except OSError:
        return None
    if head != _seal(body):
        return None
    return _thaw(json.loads(body))


def remember_parsed(data: bytes, lock: Lock, *, cache: Cache) -> None:
    """Keep `lock` as what `data` was parsed into; nothing happens where that can't be written."""
    body = json.dumps(_freeze(lock), separators=(",", ":")).encode()
    with contextlib.suppress(OSError):
        write_atomic(_entry(data, cache), _seal(body) + b"\n" + body)


def _seal(body: bytes) -> bytes:
    """Return the first line of an entry, itself JSON: a damaged entry shows."""
    return f'"{hashlib.sha256(body).hexdigest()}"'.encode()


def _freeze(lock: Lock) -> Mapping[str, object]:
    return {
        "request": dict(lock.request),
        "files": dict(lock.files),
        "tools": dict(lock.tools),
        "platforms": [
            [
                part.platform,
                part.python,
                part.glibc,
                freeze_base(part.base) if part.base else None,
                sort_rows(part.conda),
                sort_rows(part.wheels),
                sort_rows(part.debian),
                [sort_rows(items) for items in (part.sources, part.trees, part.build)],
            ]
            for part in lock.platforms.values()
        ],
    }


def _thaw(value: dict[str, Any]) -> Lock:
    parts = [_thaw_platform(*row) for row in value["platforms"]]
    return Lock(
        request=value["request"],
        platforms={part.platform: part for part in parts},
        files=value["files"],
        tools=value["tools"],
    )


def _thaw_platform(
    platform: str,
    python: str,
    glibc: str,
    base: dict[str, Any] | None,
    conda: list[Any],
    wheels: list[Any],
    debian: list[Any],
    built: list[list[Any]],
) -> PlatformLock:
    """Build the platform's lock; spelled out, for this is most of a warm load's time."""
    return PlatformLock(
        platform=platform,
        python=python,
        glibc=glibc,
        base=thaw_base(base) if base else None,
        conda=tuple(
            CondaPackage(
                name=name, version=version, build=build, url=url, sha256=sha256, size=size
            )
            for name, version, build, url, sha256, size in conda
        ),
        wheels=tuple(
            Wheel(name=name, version=version, filename=filename, sha256=sha256, size=size)
            for name, version, filename, sha256, size in wheels
        ),
        debian=tuple(
            DebianPackage(
                name=name, version=version, architecture=architecture, path=path,
                sha256=sha256, size=size,
            )
            for name, version, architecture, path, sha256, size in debian
        ),
        sources=tuple(_thaw_row(Source, row) for row in built[0]),
        trees=tuple(_thaw_row(LocalTree, row) for row in built[1]),
        build=tuple(_thaw_row(Wheel, row) for row in built[2]),
    )  # fmt: skip


def _thaw_row(kind: type[_T], row: list[Any]) -> _T:
    """Build one of what few locks have, and those only a few of."""
    return kind(**dict(zip(COLUMNS[kind], row, strict=True)))
