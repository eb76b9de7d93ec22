"""Makes a lock: asks each resolver only for what moved, and puts their answers together."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from envbuild.errors import EnvbuildError
from envbuild.kit.canonical import digest_bytes
from envbuild.kit.crew import run_crew
from envbuild.kit.files import remove_abandoned
from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.lock.make_job import Job, Made, Part, requirements_file
from envbuild.lock.make_platform import lock_platform
from envbuild.lock.model import CondaPackage, Lock
from envbuild.lock.request import digest_request
from envbuild.lock.rows import order_lock
from envbuild.lock.sharing import Sharing
from envbuild.lock.upgrade import Upgrade, explain_unknown
from envbuild.spec.model import EnvSpec
from envbuild.spec.platforms import PLATFORMS, Platform
from envbuild.spec.settings import Settings

__all__ = ["CONDA_FILE", "make_lock"]

CONDA_FILE: Final = "conda-lock.yml"


def make_lock(
    name: str,
    spec: EnvSpec,
    *,
    old: Made | None,
    upgrade: Upgrade,
    settings: Settings,
    cache: Cache,
    progress: Progress,
    root: Path,
    sharing: Sharing,
) -> Made:
    """Resolve `spec` into a lock for all its platforms; `old` is preferred where it still fits.

    `root` is the repository, which may have wheels and source trees of its own; `sharing`
    has what other environments of the same command have solved.
    Raises `LockError` where the request can't be met, `RegistryError` for a base image that
    can't be found, `ToolError` for a resolver that is missing or broken. Writes nothing but
    caches and temporary files.
    """
    _check_upgrade_names(name, old, upgrade)
    with _open_work(cache) as folder:
        job = Job(
            name=name, spec=replace(spec, exclude_newer=upgrade.before or spec.exclude_newer),
            old=old, upgrade=upgrade, settings=settings, cache=cache, sharing=sharing,
            progress=progress, root=root, work=folder, request=digest_request(spec),
        )  # fmt: skip
        # What is kept was made by the tools that the old lock names; the steps overwrite theirs.
        tools = dict(old.lock.tools) if old and not upgrade.everything else {}
        conda_text, conda, conda_tools = _solve_conda(job)
        tools |= conda_tools
        platforms = [PLATFORMS[subdir] for subdir in sorted(spec.platforms)]

        def work(platform: Platform, check: Callable[[], None]) -> Part | EnvbuildError:
            # A failure waits for the others, whose folder would be gone under their hands.
            try:
                return lock_platform(job, platform, conda, check)
            except EnvbuildError as error:
                return error

        parts = _raise_first(run_crew(work, platforms, threads=len(platforms)))
    files = {CONDA_FILE: conda_text} if conda_text is not None else {}
    for part in parts:
        tools |= part.tools
        if part.requirements is not None:
            files[requirements_file(part.lock.platform)] = part.requirements
    lock = order_lock(
        Lock(
            request=job.request,
            platforms={part.lock.platform: part.lock for part in parts},
            files={file: digest_bytes(data) for file, data in files.items()},
            tools=tools,
        )
    )
    if old is not None and replace(lock, tools=old.lock.tools) == old.lock:
        lock = old.lock  # the same pins from newer tools are no change
    return Made(lock=lock, files=files)


@contextlib.contextmanager
def _open_work(cache: Cache) -> Iterator[Path]:
    """Give an empty folder; what a killed process left of one is removed a day later."""
    place = cache.root / "locking"
    place.mkdir(parents=True, exist_ok=True)
    remove_abandoned(place)
    with tempfile.TemporaryDirectory(prefix=".lock.", suffix=".part", dir=place) as folder:
        yield Path(folder)


def _check_upgrade_names(name: str, old: Made | None, upgrade: Upgrade) -> None:
    locks = old.lock.platforms.values() if old else ()
    known = {artifact.name for lock in locks for artifact in lock.artifacts}
    for package in sorted(upgrade.packages - known):
        raise explain_unknown(package, known, f"not in the lock of `{name}`")


_Conda = Mapping[str, tuple[CondaPackage, ...]]


def _solve_conda(job: Job) -> tuple[bytes | None, _Conda, Mapping[str, str]]:
    """Return conda-lock.yml, the packages by platform, and the tools that solved."""
    if job.spec.conda is None:
        return None, {}, {}
    kept = job.kept("conda", "python", "platforms", "exclude-newer") if job.stays else None
    previous = job.old.files.get(CONDA_FILE) if job.old else None
    if kept and previous is not None:
        locked = {p: lock.conda for p, lock in kept.platforms.items()}
        names = {package.name for packages in locked.values() for package in packages}
        if not names & job.upgrade.packages:
            return previous, locked, {}
    from envbuild.lock.conda import solve_conda

    names = {
        package.name
        for lock in (job.old.lock.platforms.values() if job.old else ())
        for package in lock.conda
    }
    solution = solve_conda(
        job.spec,
        previous=previous,
        upgrade=replace(job.upgrade, packages=job.upgrade.packages & names),
        work=job.work,
        settings=job.settings,
        cache=job.cache,
        sharing=job.sharing,
        progress=job.progress,
        task=job.name,
        sizes={
            package.sha256: package.size
            for lock in (job.old.lock.platforms.values() if job.old else ())
            for package in lock.conda
        },
    )
    return solution.text, solution.packages, solution.tools


def _raise_first(results: Sequence[Part | EnvbuildError]) -> list[Part]:
    for result in results:
        if isinstance(result, EnvbuildError):
            raise result
    return [result for result in results if isinstance(result, Part)]
