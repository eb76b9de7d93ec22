"""Says by package how an environment on this machine differs from its lock."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from envbuild.image.prefix_files import FileChange
from envbuild.layers.record import parse_record
from envbuild.lock.names import normalise_name

__all__ = ["Difference", "explain_changes"]

_METADATA: Final = ("METADATA", "PKG-INFO")


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One package that isn't as locked, and its files that differ.

    `package` is "" for files of no package; `locked` is "" for one that isn't in the lock, and
    `found` for one that is gone.
    """

    package: str
    locked: str
    found: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        count = f"{len(self.files)} file{'s' if len(self.files) > 1 else ''}"
        first = f"{count}, the first is `{self.files[0]}`"
        if not self.package:
            return f"no package's: {first}"
        if not self.locked:
            return f"`{self.package}` {self.found} is not in the lock: {first}"
        if not self.found:
            return f"`{self.package}` {self.locked} is locked, and it is gone: {first}"
        if self.found != self.locked:
            return f"`{self.package}` {self.locked} is locked, and {self.found} is there: {first}"
        return f"`{self.package}` {self.locked} differs from what was locked: {first}"


def explain_changes(
    prefix: Path, changes: Sequence[FileChange], *, locked: Mapping[str, str]
) -> tuple[Difference, ...]:
    """Return the changes by package; `locked` maps names of packages to their versions."""
    versions = {normalise_name(name): version for name, version in locked.items()}
    strangers = dict(_find_strangers(prefix, changes))
    brought = {path: name for name, (_, paths) in strangers.items() for path in paths}
    files: dict[str, list[str]] = {}
    for change in changes:
        owner = brought.get(change.path) or normalise_name(change.owner)
        files.setdefault(owner, []).append(change.path)
    gone = {normalise_name(c.owner) for c in changes if _is_metadata(c, "missing")}
    return tuple(
        Difference(
            package=name,
            locked=versions.get(name, ""),
            found=strangers[name][0] if name in strangers
            else "" if name in gone else versions.get(name, ""),
            files=tuple(paths),
        )
        for name, paths in sorted(files.items())
    )  # fmt: skip


def _is_metadata(change: FileChange, kind: str) -> bool:
    path = PurePosixPath(change.path)
    if change.kind != kind:
        return False
    if path.parent.name == "conda-meta" and path.suffix == ".json":
        return True
    return path.name in _METADATA and path.parent.suffix in {".dist-info", ".egg-info"}


def _find_strangers(
    prefix: Path, changes: Sequence[FileChange]
) -> Iterator[tuple[str, tuple[str, frozenset[str]]]]:
    """Yield each package that isn't from the lock: its name, version, and files."""
    for change in changes:
        if not _is_metadata(change, "extra"):
            continue
        path = PurePosixPath(change.path)
        if path.parent.name == "conda-meta":
            name, version, *_ = [*path.stem.rsplit("-", 2), ""]
            yield normalise_name(name), (version, frozenset({change.path}))
        else:
            name, _, version = path.parent.stem.rpartition("-")
            yield normalise_name(name), (version, _read_files(prefix, path.parent))


def _read_files(prefix: Path, folder: PurePosixPath) -> frozenset[str]:
    """Return the files of an installed project by its RECORD, or those of its metadata alone."""
    found = {str(folder / name) for name in _METADATA}
    with contextlib.suppress(OSError, ValueError):
        rows = parse_record((prefix / folder / "RECORD").read_bytes())
        found |= {posixpath.normpath(folder.parent / path) for path in rows}
    return frozenset(found)
