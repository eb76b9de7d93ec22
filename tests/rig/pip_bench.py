"""Locks pip's packages against the rig's index, for this machine and for another one."""

from __future__ import annotations

import os
import platform as host
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast

import pytest

from envbuild.kit.places import Cache
from envbuild.lock.model import PlatformLock
from envbuild.lock.pip import PipSolution, resolve_pip
from envbuild.lock.sharing import Sharing
from envbuild.lock.upgrade import Upgrade
from envbuild.spec.model import EnvSpec, Pip
from envbuild.spec.platforms import PLATFORMS, Platform, find_host_platform
from tests.rig.need import missing
from tests.rig.pip_index import PipIndex

__all__ = ["FOREIGN", "MINOR", "PYTHON", "TAG", "Bench", "Heard", "find_glibc", "find_host"]

PYTHON: Final = host.python_version()
MINOR: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
TAG: Final = f"cp{sys.version_info.major}{sys.version_info.minor}"
"""Interpreter and ABI tag of this Python."""


def find_host() -> Platform:
    """Return this machine's platform; pip-tools resolves for no other."""
    found = find_host_platform()
    if found is None or found.os != "linux":
        missing("a Linux machine", "these tests lock for the machine they run on")
    return found


def find_glibc() -> int:
    """Return the minor version of this machine's glibc 2."""
    found = re.fullmatch(r"glibc 2\.(\d+).*", os.confstr("CS_GNU_LIBC_VERSION") or "")
    if found is None:
        missing("glibc", "these tests lock for the machine they run on")
    return int(found[1])


FOREIGN: Final = PLATFORMS["linux-64" if host.machine() == "aarch64" else "linux-aarch64"]
"""A Linux platform that this machine is not."""


@dataclass(kw_only=True, slots=True)
class Heard:
    """A `Progress` that remembers."""

    notes: list[str] = field(default_factory=list)
    updates: list[tuple[str, str, int, int]] = field(default_factory=list)

    def update(self, task: str, doing: str, done: int = 0, total: int = 0) -> None:
        self.updates.append((task, doing, done, total))

    def finish(self, task: str, outcome: str) -> None:
        self.updates.append((task, outcome, 0, 0))

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass(kw_only=True)
class Bench:
    """Resolves requests; everything it writes is below `root`."""

    index: PipIndex
    root: Path
    heard: Heard = field(default_factory=Heard)
    runs: int = 0

    @property
    def cache(self) -> Cache:
        return Cache(root=self.root / "cache")

    @property
    def logs(self) -> Path:
        return self.cache.logs

    def resolve(
        self,
        *requirements: str,
        resolver: str = "uv",
        platform: Platform | None = None,
        python: str = PYTHON,
        glibc: str = "2.17",
        constraints: Mapping[str, str] | None = None,
        previous: bytes | None = None,
        upgrade: Upgrade | None = None,
        index_url: str | None = "",
        extra: tuple[str, ...] = (),
        build: tuple[str, ...] = (),
        local: tuple[str, ...] = (),
        old: PlatformLock | None = None,
        limits: tuple[str, ...] = (),
        overrides: tuple[str, ...] = (),
        before: str | None = None,
    ) -> PipSolution:
        """Lock `requirements` as environment `cpu`; `index_url` "" is the rig's index."""
        self.runs += 1
        pip = Pip(
            dependencies=requirements,
            index_url=self.index.url if index_url == "" else index_url,
            extra_index_urls=extra,
            build_from_source=build,
            local=local,
            constraints=limits,
            overrides=overrides,
            resolver=cast("Literal['pip-tools', 'uv']", resolver),
        )
        return resolve_pip(
            EnvSpec(python=f"{MINOR}.*", exclude_newer=before, pip=pip),
            platform=platform or find_host(),
            python=python,
            glibc=glibc,
            constraints=constraints or {},
            previous=previous,
            upgrade=upgrade or Upgrade(),
            work=self.root / f"work-{self.runs}",
            cache=self.cache,
            progress=self.heard,
            task="cpu",
            root=self.root,
            sharing=Sharing(),
            old=old,
        )

    def pins(self, *requirements: str, **options: object) -> dict[str, str]:
        """Return name and version of what `requirements` lock."""
        solution = self.resolve(*requirements, **options)  # type: ignore[arg-type]
        return {wheel.name: wheel.version for wheel in solution.wheels}


@pytest.fixture
def pip_bench(pip_index: PipIndex, tmp_path: Path) -> Bench:
    """A bench for the index of the same test."""
    return Bench(index=pip_index, root=tmp_path / "bench")
