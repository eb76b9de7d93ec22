"""Makes a lock: asks each resolver only for what moved, and puts their answers together.

The order is forced by the data: conda (or Debian) decides which Python there is, Python and glibc
decide which wheels fit, and conda's Python packages are constraints for pip.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from envbuild.errors import EnvbuildError, LockError
from envbuild.kit.canonical import digest_bytes
from envbuild.kit.crew import run_crew
from envbuild.kit.files import remove_abandoned
from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.lock.base_rules import check_base, find_base_glibc
from envbuild.lock.conda_file import DEFAULT_GLIBC
from envbuild.lock.model import BaseImage, CondaPackage, DebianPackage, Lock, PlatformLock
from envbuild.lock.request import digest_request
from envbuild.lock.rows import order_lock
from envbuild.lock.source_fresh import find_moved
from envbuild.lock.upgrade import Upgrade
from envbuild.spec.derive import find_base, find_suite, narrow_spec
from envbuild.spec.formats import parse_python
from envbuild.spec.model import EnvSpec
from envbuild.spec.platforms import PLATFORMS, Platform
from envbuild.spec.settings import Settings

__all__ = ["CONDA_FILE", "Made", "make_lock", "requirements_file"]

CONDA_FILE: Final = "conda-lock.yml"


def requirements_file(platform: str) -> str:
    """Return the name of the pip lockfile of a platform."""
    return f"requirements.{platform}.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A lock and the bytes of its sibling files, by file name."""

    lock: Lock
    files: Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What every step of one lock needs."""

    name: str
    spec: EnvSpec
    old: Made | None
    upgrade: Upgrade
    settings: Settings
    cache: Cache
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
) -> Made:
    """Resolve `spec` into a lock for all its platforms; `old` is preferred where it still fits.

    `root` is the repository, which may have wheels and source trees of its own.
    Raises `LockError` where the request can't be met, `RegistryError` for a base image that
    can't be found, `ToolError` for a resolver that is missing or broken. Writes nothing but
    caches and temporary files.
    """
    _check_upgrade_names(name, old, upgrade)
    with _open_work(cache) as folder:
        job = _Job(
            name=name, spec=replace(spec, exclude_newer=upgrade.before or spec.exclude_newer),
            old=old, upgrade=upgrade, settings=settings, cache=cache, progress=progress, root=root,
            work=folder, request=digest_request(spec),
        )  # fmt: skip
        # What is kept was made by the tools that the old lock names; the steps overwrite theirs.
        tools = dict(old.lock.tools) if old and not upgrade.everything else {}
        conda_text, conda, conda_tools = _solve_conda(job)
        tools |= conda_tools
        platforms = [PLATFORMS[subdir] for subdir in sorted(spec.platforms)]

        def work(platform: Platform, check: Callable[[], None]) -> _Part | EnvbuildError:
            # A failure waits for the others, whose folder would be gone under their hands.
            try:
                return _lock_platform(job, platform, conda, check)
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
        near = get_close_matches(package, sorted(known), n=3)
        raise LockError(
            "lock.unknown-package",
            f"`{package}` is not in the lock of `{name}`, so it can't be upgraded",
            hint=f"did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else None,
        )


_Conda = Mapping[str, tuple[CondaPackage, ...]]


def _solve_conda(job: _Job) -> tuple[bytes | None, _Conda, Mapping[str, str]]:
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
        progress=job.progress,
        task=job.name,
        sizes={
            package.sha256: package.size
            for lock in (job.old.lock.platforms.values() if job.old else ())
            for package in lock.conda
        },
    )
    return solution.text, solution.packages, solution.tools


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    lock: PlatformLock
    requirements: bytes | None
    tools: Mapping[str, str]


def _raise_first(results: Sequence[_Part | EnvbuildError]) -> list[_Part]:
    for result in results:
        if isinstance(result, EnvbuildError):
            raise result
    return [result for result in results if isinstance(result, _Part)]


def _lock_platform(
    job: _Job, platform: Platform, conda: _Conda, check: Callable[[], None]
) -> _Part:
    job = replace(job, spec=narrow_spec(job.spec, platform.subdir))
    packages = conda.get(platform.subdir, ())
    base = _resolve_base(job, platform, check)
    debian = _resolve_debian(job, platform, packages)
    bare = PlatformLock(
        platform=platform.subdir,
        python=_find_python(job.spec, packages, debian, base),
        glibc="",
        base=base,
        conda=packages,
        debian=debian,
    )
    check_base(job.spec, bare)  # before pip is asked for what could not run there
    part = _resolve_wheels(job, platform, replace(bare, glibc=_find_glibc(job, platform, bare)))
    check_base(job.spec, part.lock)
    return part


def _resolve_base(job: _Job, platform: Platform, check: Callable[[], None]) -> BaseImage | None:
    """Return the base image by digest; what is locked stays until an upgrade is asked for."""
    reference = find_base(job.spec.image).reference
    if reference is None or not platform.has_image:
        return None
    kept = job.kept("base")
    old = kept.platforms.get(platform.subdir) if kept and not job.upgrade.base else None
    interpreter = job.spec.image.interpreter
    if old and old.base and not _is_unknown(interpreter, old.base):
        return old.base
    from envbuild.lock.base_read import find_base_digest, read_base

    digest = (
        old.base.digest
        if old and old.base
        else find_base_digest(
            reference, platform=platform, settings=job.settings, progress=job.progress,
            task=job.name,
        )
    )  # fmt: skip
    return read_base(
        reference, digest, interpreter=interpreter, settings=job.settings, cache=job.cache,
        progress=job.progress, task=job.name, check=check,
    )  # fmt: skip


def _is_unknown(interpreter: str | None, base: BaseImage) -> bool:
    """Return whether nobody looked for that Python when the base was read."""
    return interpreter is not None and base.facts.find_python(interpreter) is None


def _has_python(packages: tuple[CondaPackage, ...]) -> bool:
    return any(package.name == "python" for package in packages)


def _resolve_debian(
    job: _Job, platform: Platform, conda: tuple[CondaPackage, ...]
) -> tuple[DebianPackage, ...]:
    spec = job.spec
    assembled = find_base(spec.image).kind == "debian"
    suite = find_suite(spec)
    if not platform.debian or suite is None or not (assembled or spec.system.packages):
        return ()
    kept = job.kept("base", "system", "python", "conda")
    if assembled and job.upgrade.base:
        kept = None
    old = kept.platforms.get(platform.subdir) if kept else None
    if old and not {package.name for package in old.debian} & job.upgrade.packages:
        return old.debian
    from envbuild.lock.debian import BASE_PACKAGES, resolve_debian

    names = list(spec.system.packages)
    if assembled:
        names += BASE_PACKAGES
        if not _has_python(conda):
            names.append(f"python{parse_python(spec.python).minor}")
    return resolve_debian(
        names, suite=suite, architecture=platform.debian, settings=job.settings,
        cache=job.cache, progress=job.progress, task=job.name,
    )  # fmt: skip


def _find_python(
    spec: EnvSpec,
    conda: tuple[CondaPackage, ...],
    debian: tuple[DebianPackage, ...],
    base: BaseImage | None,
) -> str:
    """Return the full version of the Python that was locked, or the minor that was asked for."""
    minor = parse_python(spec.python).minor
    for package in conda:
        if package.name == "python":
            return package.version
    for deb in debian:
        if deb.name == f"python{minor}":
            # Debian's version is [epoch:]upstream-revision; deb-version(7)
            upstream = deb.version.partition(":")[2] or deb.version
            return upstream.rpartition("-")[0].partition("~")[0].partition("+")[0]
    known = base.facts.find_python(spec.image.interpreter or "") if base else None
    return known if known and known.count(".") > 1 else minor


def _find_glibc(job: _Job, platform: Platform, bare: PlatformLock) -> str:
    """Return the glibc to choose wheels for: the spec's, else the base's own.

    Wheels that only get another base stay chosen for what they were chosen for.
    """
    if platform.os != "linux":
        return ""
    conda = job.spec.conda
    if conda and conda.virtual_packages.glibc:
        return conda.virtual_packages.glibc
    kept = job.kept("base", "pip", "conda") if job.upgrade.base else None
    old = kept.platforms.get(platform.subdir) if kept else None
    return old.glibc if old else find_base_glibc(bare) or DEFAULT_GLIBC


def _resolve_wheels(job: _Job, platform: Platform, bare: PlatformLock) -> _Part:
    if not (job.spec.pip.dependencies or job.spec.pip.local):
        return _Part(lock=bare, requirements=None, tools={})
    file = requirements_file(platform.subdir)
    previous = job.old.files.get(file) if job.old else None
    old = job.old.lock.platforms.get(platform.subdir) if job.old else None
    kept = job.kept("pip", "exclude-newer") if job.stays else None
    if old and previous is not None and kept and not job.moved(old):
        same = (old.glibc, old.conda) == (bare.glibc, bare.conda) and _is_same_python(
            old, bare, job.upgrade
        )
        if same and not {wheel.name for wheel in old.wheels} & job.upgrade.packages:
            part = replace(
                bare, wheels=old.wheels, sources=old.sources, trees=old.trees, build=old.build
            )
            return _Part(lock=part, requirements=previous, tools={})
    return _ask_pip(job, platform, bare, previous, old)


def _is_same_python(old: PlatformLock, new: PlatformLock, upgrade: Upgrade) -> bool:
    """Return whether wheels stay: a new base may bring another patch release, no other minor."""
    if upgrade.base:
        return old.python_minor == new.python_minor
    return old.python == new.python


def _ask_pip(
    job: _Job,
    platform: Platform,
    bare: PlatformLock,
    previous: bytes | None,
    old: PlatformLock | None,
) -> _Part:
    from envbuild.lock.conda_names import find_python_names
    from envbuild.lock.pip import resolve_pip

    constraints = (
        find_python_names(bare.conda, settings=job.settings, cache=job.cache, logs=job.cache.logs)
        if bare.conda
        else {}
    )
    work = job.work / platform.subdir
    work.mkdir()
    solution = resolve_pip(
        job.spec, platform=platform, python=bare.python, glibc=bare.glibc,
        constraints=constraints, previous=previous, upgrade=job.upgrade, work=work,
        cache=job.cache, progress=job.progress, task=job.name, root=job.root, old=old,
    )  # fmt: skip
    return _Part(
        lock=replace(
            bare,
            wheels=solution.wheels,
            sources=solution.sources,
            trees=solution.trees,
            build=solution.build,
        ),
        requirements=solution.text,
        tools=solution.tools,
    )
