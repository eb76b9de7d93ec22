"""Turns artifacts into rows of values and back: one list of columns for file, digest and memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any, Final

from envbuild.kit.canonical import digest_json
from envbuild.lock.model import (
    LOCK_VERSION,
    Artifact,
    BaseFacts,
    BaseImage,
    CondaPackage,
    DebianPackage,
    LocalTree,
    Lock,
    PlatformLock,
    Source,
    Wheel,
)

__all__ = [
    "COLUMNS",
    "Item",
    "Row",
    "digest_content",
    "digest_lock",
    "freeze_base",
    "order_lock",
    "sort_rows",
    "thaw_base",
]

Row = tuple[str | int, ...]

Item = Artifact | LocalTree | Source
"""What a platform has lists of."""

COLUMNS: Final[dict[type[Item], tuple[str, ...]]] = {
    DebianPackage: ("name", "version", "architecture", "path", "sha256", "size"),
    CondaPackage: ("name", "version", "build", "url", "sha256", "size"),
    Wheel: ("name", "version", "filename", "sha256", "size"),
    Source: ("wheel", "kind", "place", "pin", "reference", "subdirectory", "requires"),
    LocalTree: ("name", "path", "needs", "config", "requires"),
}
"""The columns of each kind of artifact, in the order in which the lockfile has them."""

_GET: Final = {kind: attrgetter(*columns) for kind, columns in COLUMNS.items()}


def _row(artifact: Item) -> Row:
    row: Row = _GET[type(artifact)](artifact)
    return row


def sort_rows(artifacts: Iterable[Item]) -> list[Row]:
    """Return one row for each artifact (all of one kind), in the one order they have in a lock."""
    return sorted(map(_row, artifacts))


def order_lock(lock: Lock) -> Lock:
    """Return `lock` as it is read back from its file: every list sorted."""
    return Lock(
        request=dict(sorted(lock.request.items())),
        platforms={key: _order_platform(lock.platforms[key]) for key in sorted(lock.platforms)},
        files=dict(sorted(lock.files.items())),
        tools=dict(sorted(lock.tools.items())),
    )


def _order_platform(lock: PlatformLock) -> PlatformLock:
    return replace(
        lock,
        debian=tuple(sorted(lock.debian, key=_row)),
        conda=tuple(sorted(lock.conda, key=_row)),
        wheels=tuple(sorted(lock.wheels, key=_row)),
        sources=tuple(sorted(lock.sources, key=_row)),
        trees=tuple(sorted(lock.trees, key=_row)),
        build=tuple(sorted(lock.build, key=_row)),
    )


def freeze_base(base: BaseImage) -> dict[str, Any]:
    """Return a base as values for JSON."""
    facts = base.facts
    return {
        "reference": base.reference,
        "digest": base.digest,
        "system": facts.system,
        "libc": facts.libc,
        "libc-version": facts.libc_version,
        "shell": facts.shell,
        "pythons": dict(facts.pythons),
    }


def thaw_base(value: Mapping[str, Any]) -> BaseImage:
    """Return the base that `freeze_base` gave the values of."""
    return BaseImage(
        reference=value["reference"],
        digest=value["digest"],
        facts=BaseFacts(
            system=value["system"],
            libc=value["libc"],
            libc_version=value["libc-version"],
            shell=value["shell"],
            pythons=tuple(sorted(value["pythons"].items())),
        ),
    )


def digest_content(lock: PlatformLock) -> str:
    """Return the digest of all that a platform's table says, so that an edit by hand shows."""
    return digest_json(
        {
            "envbuild-lock-platform": LOCK_VERSION,
            "platform": lock.platform,
            "python": lock.python,
            "glibc": lock.glibc,
            "base": freeze_base(lock.base) if lock.base else None,
            "debian": sort_rows(lock.debian),
            "conda": sort_rows(lock.conda),
            "wheels": sort_rows(lock.wheels),
            "sources": sort_rows(lock.sources),
            "trees": sort_rows(lock.trees),
            "build": sort_rows(lock.build),
        }
    )


def digest_lock(lock: Lock, contents: Mapping[str, str]) -> str:
    """Return the digest of a whole lock; `contents` has the digest of each platform's content.

    Every change of a lock changes this one line, so two branches that both locked conflict here
    in git, and their mixture is never taken for a lock.
    """
    return digest_json(
        {
            "envbuild-lock": LOCK_VERSION,
            "request": dict(lock.request),
            "tools": dict(lock.tools),
            "files": dict(lock.files),
            "platforms": dict(contents),
        }
    )
