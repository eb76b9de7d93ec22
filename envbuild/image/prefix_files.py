"""Every file of a prefix as it was unpacked, and what has become of it since.

Byte code that Python writes beside its sources (`__pycache__`) is nobody's and is not looked at.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

__all__ = ["FileChange", "PrefixFile", "find_file_changes", "list_prefix"]

_CACHES: Final = "__pycache__"


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefixFile:
    """One file or symbolic link: its content by hash or its target, and whose it is.

    `seconds` is the time of its last change, which tells most edits without reading it. `owner` is
    the package that brought it, "" for what envbuild made.
    """

    sha256: str = ""
    link: str = ""
    size: int = 0
    executable: bool = False
    seconds: float = 0.0
    owner: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileChange:
    """One path that isn't as it was unpacked."""

    path: str
    kind: Literal["changed", "missing", "extra"]
    owner: str = ""


def list_prefix(folder: Path, owners: Mapping[str, str]) -> dict[str, PrefixFile]:
    """Return all files of `folder` by their path below it; `owners` says whose each is."""
    return {
        path: _describe(folder / path, stat, owner=owners.get(path, ""))
        for path, stat in _walk(folder)
    }


def find_file_changes(
    folder: Path, listed: Mapping[str, PrefixFile], *, thorough: bool
) -> tuple[FileChange, ...]:
    """Return what differs from the listing, sorted by path.

    A file whose size and time are as they were counts as unchanged, unless `thorough` asks to read
    and hash every one.
    """
    there = dict(_walk(folder))
    changes = [
        FileChange(path=path, kind="missing", owner=file.owner)
        for path, file in listed.items()
        if path not in there
    ]
    for path, stat in there.items():
        if (file := listed.get(path)) is None:
            changes.append(FileChange(path=path, kind="extra"))
        elif _differs(folder / path, stat, file, thorough=thorough):
            changes.append(FileChange(path=path, kind="changed", owner=file.owner))
    return tuple(sorted(changes, key=lambda change: change.path))


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every file and link below `folder`; links to folders are not followed."""
    pending = [""]
    while pending:
        below = pending.pop()
        with os.scandir(folder / below) as entries:
            for entry in entries:
                path = f"{below}{entry.name}"
                if not entry.is_dir(follow_symlinks=False):
                    yield path, entry.stat(follow_symlinks=False)
                elif entry.name != _CACHES:
                    pending.append(f"{path}/")


def _describe(place: Path, stat: os.stat_result, *, owner: str) -> PrefixFile:
    if place.is_symlink():
        return PrefixFile(link=str(place.readlink()), owner=owner)
    return PrefixFile(
        sha256=_hash(place), size=stat.st_size, executable=bool(stat.st_mode & 0o100),
        seconds=stat.st_mtime, owner=owner,
    )  # fmt: skip


def _differs(place: Path, stat: os.stat_result, file: PrefixFile, *, thorough: bool) -> bool:
    if place.is_symlink() or file.link:
        return not place.is_symlink() or str(place.readlink()) != file.link
    if (stat.st_size, bool(stat.st_mode & 0o100)) != (file.size, file.executable):
        return True
    return _hash(place) != file.sha256 if thorough else stat.st_mtime != file.seconds


def _hash(place: Path) -> str:
    with place.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
