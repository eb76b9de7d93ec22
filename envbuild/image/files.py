"""Gets the artifacts of a recipe onto this machine, each checked against its locked hash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from envbuild.kit.crew import run_crew
from envbuild.kit.files import remove_abandoned
from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress, Silent
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage, Wheel
from envbuild.lock.provenance import Provenance, Shop
from envbuild.spec.derive import find_suite
from envbuild.spec.model import EnvSpec
from envbuild.spec.platforms import PLATFORMS
from envbuild.spec.settings import Settings

__all__ = ["Supply", "fetch_artifacts"]

_DOWNLOADS = 6
"""Downloads at a time from conda channels and Debian archives."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Supply:
    """Where artifacts come from: what a recipe leaves out because it must not matter."""

    spec: EnvSpec
    platform: str
    python_minor: str
    settings: Settings
    cache: Cache
    provenance: Provenance | None = None
    """What no index has; None where the lock has nothing of the kind."""


def fetch_artifacts(
    artifacts: tuple[Artifact, ...], *, supply: Supply, progress: Progress, task: str
) -> Mapping[str, Path]:
    """Return the local file of each artifact by SHA-256; downloads what the cache lacks.

    Raises `LockError` for an artifact that is gone or has another hash than the lock says.
    """
    every = [a for a in artifacts if isinstance(a, Wheel)]
    there = {
        a.sha256: file
        for a in every
        if (file := supply.cache.find_package(a.sha256, a.filename, a.size))
    }
    wheels = [wheel for wheel in every if wheel.sha256 not in there]
    others = [a for a in artifacts if not isinstance(a, Wheel)]
    if not wheels and not others:
        return there
    arrived: list[str] = []

    def fetch(batch: _Batch, _check: Callable[[], None]) -> Mapping[str, Path]:
        if isinstance(batch, list):
            return _fetch_wheels(batch, supply, progress, task)
        # Many small ones at a time: one line says how many, not each what it is.
        file = _fetch_one(batch, supply, Silent(), task)
        arrived.append(batch.sha256)
        if not wheels:
            progress.update(task, "fetching packages", len(arrived), len(others))
        return {batch.sha256: file}

    remove_abandoned(supply.cache.packages, "*/.*.part")
    batches: list[_Batch] = [*([wheels] if wheels else []), *others]
    found = run_crew(fetch, batches, threads=_DOWNLOADS)
    return there | {sha256: path for files in found for sha256, path in files.items()}


_Batch = list[Wheel] | CondaPackage | DebianPackage


def _fetch_wheels(
    wheels: list[Wheel], supply: Supply, progress: Progress, task: str
) -> Mapping[str, Path]:
    # Imported late: where all wheels are there, a build has no use for it.
    from envbuild.lock.source_again import get_wheels

    shop = Shop(
        spec=supply.spec, minor=supply.python_minor, cache=supply.cache, progress=progress,
        task=task,
    )  # fmt: skip
    return get_wheels(wheels, supply.provenance, shop=shop, platform=PLATFORMS[supply.platform])


def _fetch_one(
    artifact: CondaPackage | DebianPackage, supply: Supply, progress: Progress, task: str
) -> Path:
    if isinstance(artifact, CondaPackage):
        from envbuild.lock.channel import fetch_conda

        return fetch_conda(
            artifact, settings=supply.settings, cache=supply.cache, progress=progress, task=task
        )
    from envbuild.lock.debian import fetch_debian

    return fetch_debian(
        artifact, suite=find_suite(supply.spec) or "", settings=supply.settings, cache=supply.cache,
        progress=progress, task=task,
    )  # fmt: skip
