"""Where the wheels of one platform come from that no index has: what getting them again needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.lock.model import PlatformLock, Source
from envbuild.spec.model import EnvSpec

__all__ = ["Provenance", "Shop"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shop:
    """Where and with what packages are built; `minor` is the version of Python."""

    spec: EnvSpec
    minor: str
    cache: Cache
    progress: Progress
    task: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """The repository, and the platform's lock that says what comes from there or is built."""

    root: Path
    lock: PlatformLock

    def find_source(self, sha256: str) -> Source | None:
        """Return where the wheel of this hash comes from; None for an index."""
        return next((s for s in self.lock.sources if s.wheel == sha256), None)
