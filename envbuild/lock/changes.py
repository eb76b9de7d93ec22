"""Says what moved between two locks: the table that `nox -s lock` ends with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from envbuild.lock.model import Artifact, BaseImage, CondaPackage, DebianPackage, Lock, PlatformLock

__all__ = ["CHANGE_COLUMNS", "Change", "Kind", "diff_locks", "render_changes"]

Kind = Literal["added", "removed", "upgraded", "downgraded", "rebuilt", "changed"]

CHANGE_COLUMNS: Final = ("package", "change", "from", "to", "platforms")
"""Headings of what `render_changes` returns."""

_MANAGERS: Final = ("base", "conda", "pip", "debian")
"""In the order of the table: what people ask for stands before what it stands on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One package that moved in the same way on all of `platforms` (sorted).

    `manager` is `debian`, `conda` or `pip`, or `base` for the base image. `rebuilt` is another
    archive of the same version (`old` and `new` then end in conda's builds), `changed` is for
    versions that have no order. `old` is empty for what was added, `new` for what was removed.
    """

    platforms: tuple[str, ...]
    manager: str
    name: str
    kind: Kind
    old: str
    new: str


def diff_locks(old: Lock | None, new: Lock) -> tuple[Change, ...]:
    """Return what moved, sorted by manager and name; `old` is None for a first lock."""
    before = old.platforms if old else {}
    platforms: dict[Change, list[str]] = {}
    for platform in sorted({*before, *new.platforms}):
        for change in set(_diff_platform(before.get(platform), new.platforms.get(platform))):
            platforms.setdefault(change, []).append(platform)
    merged = (replace(change, platforms=tuple(names)) for change, names in platforms.items())
    return tuple(sorted(merged, key=_order))


def render_changes(changes: Iterable[Change]) -> tuple[tuple[str, ...], ...]:
    """Return a row of text for each change, under `CHANGE_COLUMNS`."""
    return tuple(
        (f"{c.name} ({c.manager})", c.kind, c.old, c.new, ", ".join(c.platforms)) for c in changes
    )


def _order(change: Change) -> tuple[int, str, tuple[str, ...], str, str]:
    place = _MANAGERS.index(change.manager)
    return place, change.name, change.platforms, change.old, change.new


def _diff_platform(old: PlatformLock | None, new: PlatformLock | None) -> Iterator[Change]:
    """Give the changes of one platform, their `platforms` still empty."""
    bases = _show_base(old.base if old else None), _show_base(new.base if new else None)
    if bases[0] != bases[1]:
        kind: Kind = "changed" if all(bases) else "removed" if bases[0] else "added"
        yield _change("base", "base image", *bases, kind)
    before, after = _group(old), _group(new)
    for key in {**before, **after}:
        yield from _diff_package(before.get(key, {}), after.get(key, {}))


_Archives = Mapping[str, Artifact]
"""Archives of one package by SHA-256; nearly always one."""


def _group(lock: PlatformLock | None) -> Mapping[tuple[str, ...], _Archives]:
    """Group artifacts by what makes them the same package; dpkg may have two architectures."""
    groups: dict[tuple[str, ...], dict[str, Artifact]] = {}
    for artifact in lock.artifacts if lock else ():
        architecture = artifact.architecture if isinstance(artifact, DebianPackage) else ""
        key = (_manager(artifact), artifact.name, architecture)
        groups.setdefault(key, {})[artifact.sha256] = artifact
    return groups


def _diff_package(old: _Archives, new: _Archives) -> Iterator[Change]:
    gone = [artifact for sha256, artifact in old.items() if sha256 not in new]
    come = [artifact for sha256, artifact in new.items() if sha256 not in old]
    if len(gone) == len(come) == 1:
        yield _diff_artifact(gone[0], come[0])
        return
    for a in gone:
        yield _change(_manager(a), a.name, a.version, "", "removed")
    for a in come:
        yield _change(_manager(a), a.name, "", a.version, "added")


def _manager(artifact: Artifact) -> str:
    if isinstance(artifact, DebianPackage):
        return "debian"
    return "conda" if isinstance(artifact, CondaPackage) else "pip"


def _show_base(base: BaseImage | None) -> str:
    return f"{base.reference.partition('@')[0]}@{base.digest[:19]}" if base else ""


def _change(manager: str, name: str, old: str, new: str, kind: Kind) -> Change:
    return Change(platforms=(), manager=manager, name=name, kind=kind, old=old, new=new)


def _diff_artifact(old: Artifact, new: Artifact) -> Change:
    """Return the change from one archive of a package to another."""
    manager = _manager(new)
    if old.version == new.version:
        return _change(manager, new.name, _show_build(old), _show_build(new), "rebuilt")
    kind = _compare(manager, old.version, new.version)
    return _change(manager, new.name, old.version, new.version, kind)


def _show_build(artifact: Artifact) -> str:
    build = f" {artifact.build}" if isinstance(artifact, CondaPackage) else ""
    return artifact.version + build


def _compare(manager: str, old: str, new: str) -> Kind:
    """Order two versions as their manager does; conda's only where they are also Python's."""
    if manager == "debian":
        from envbuild.lock.debian_relations import version_key

        return _kind(version_key(old), version_key(new))
    from packaging.version import InvalidVersion, Version

    try:
        return _kind(Version(old), Version(new))
    except InvalidVersion:
        return "changed"


def _kind(old: Any, new: Any) -> Kind:
    """Compare two sort keys; equal ones are two spellings of one version."""
    if old == new:
        return "rebuilt"
    return "upgraded" if old < new else "downgraded"
