"""What the steps of making one lock hand on: what they start from, a platform's part, the lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.lock.model import Lock, PlatformLock
from envbuild.lock.sharing import Sharing
from envbuild.lock.source_fresh import find_moved
from envbuild.lock.upgrade import Upgrade
from envbuild.spec.model import EnvSpec
from envbuild.spec.settings import Settings

__all__ = ["Job", "Made", "Part", "requirements_file"]


def requirements_file(platform: str) -> str:
    """Return the name of the pip lockfile of a platform."""
    return f"requirements.{platform}.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A lock and the bytes of its sibling files, by file name."""

    lock: Lock
    files: Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What every step of one lock needs."""

    name: str
    spec: EnvSpec
    old: Made | None
    upgrade: Upgrade
    settings: Settings
    cache: Cache
    sharing: Sharing
    progress: Progress
    root: Path
    work: Path
    request: Mapping[str, str]

    def kept(self, *sections: str) -> Lock | None:
        """Return the old lock if `sections` of the request are as they were and may stay."""
        if self.old is None or self.upgrade.everything:
            return None
        same = all(self.old.lock.request.get(s) == self.request.get(s) for s in sections)
        return self.old.lock if same else None

    @property
    def stays(self) -> bool:
        """Say whether conda's and pip's packages may stay unasked: they saw the same world."""
        return self.upgrade.before is None

    def moved(self, old: PlatformLock) -> bool:
        """Say whether a wheel or a source tree of the repository is another than was locked."""
        if self.old is None:
            return False
        return bool(find_moved(replace(self.old.lock, platforms={old.platform: old}), self.root))


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one platform adds to a lock; `requirements` is its pip lockfile."""

    lock: PlatformLock
    requirements: bytes | None
    tools: Mapping[str, str]
