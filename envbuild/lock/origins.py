"""Where the wheels of one platform come from that no index has: what getting them again needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.lock.model import PlatformLock, Source, Wheel
from envbuild.spec.model import EnvSpec

__all__ = ["NOWHERE", "Origins", "Shop", "find_origins"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shop:
    """Where and with what packages are built; `minor` is the version of Python."""

    spec: EnvSpec
    minor: str
    cache: Cache
    progress: Progress
    task: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Origins:
    """The sources of wheels by their SHA-256, what they are built with, and the repository."""

    root: Path | None = None
    sources: Mapping[str, Source] = field(default_factory=dict)
    build: tuple[Wheel, ...] = ()
    python: str = ""
    glibc: str = ""


NOWHERE = Origins()
"""No wheel comes from elsewhere than an index."""


def find_origins(lock: PlatformLock, root: Path) -> Origins:
    """Return the origins of a platform's wheels; `root` is the repository."""
    return Origins(
        root=root,
        sources={source.wheel: source for source in lock.sources},
        build=lock.build,
        python=lock.python,
        glibc=lock.glibc,
    )
