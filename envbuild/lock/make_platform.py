"""Makes one platform's part of a lock: base, Debian packages, Python, glibc, wheels, in that order.

The order is forced by the data: conda (or Debian) decides which Python there is, Python and glibc
decide which wheels fit, and conda's Python packages are constraints for pip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from envbuild.kit.progress import Progress
from envbuild.lock.base_rules import check_base, find_base_glibc
from envbuild.lock.conda_file import DEFAULT_GLIBC
from envbuild.lock.make_job import Job, Part, requirements_file
from envbuild.lock.model import BaseImage, CondaPackage, DebianPackage, PlatformLock
from envbuild.lock.sharing import NAMELESS, make_key
from envbuild.lock.upgrade import Upgrade
from envbuild.spec.derive import find_base, find_suite, narrow_spec
from envbuild.spec.formats import parse_python
from envbuild.spec.model import EnvSpec
from envbuild.spec.platforms import Platform

__all__ = ["lock_platform"]


def lock_platform(
    job: Job,
    platform: Platform,
    conda: Mapping[str, tuple[CondaPackage, ...]],
    check: Callable[[], None],
) -> Part:
    """Return what `job` locks for one platform; `conda` are conda's packages by platform.

    `check` raises where the work is to end.
    """
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


def _resolve_base(job: Job, platform: Platform, check: Callable[[], None]) -> BaseImage | None:
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
    job: Job, platform: Platform, conda: tuple[CondaPackage, ...]
) -> tuple[DebianPackage, ...]:
    spec = job.spec
    assembled = find_base(spec.image).kind == "debian"
    suite, architecture = find_suite(spec), platform.debian
    if not architecture or suite is None or not (assembled or spec.system.packages):
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

    def resolve(progress: Progress) -> tuple[DebianPackage, ...]:
        return resolve_debian(
            names, suite=suite, architecture=architecture, settings=job.settings,
            cache=job.cache, progress=progress, task=NAMELESS,
        )  # fmt: skip

    key = make_key("debian", set(names), suite, architecture)
    return job.sharing.solve(key, resolve, task=job.name, progress=job.progress)


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


def _find_glibc(job: Job, platform: Platform, bare: PlatformLock) -> str:
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


def _resolve_wheels(job: Job, platform: Platform, bare: PlatformLock) -> Part:
    if not (job.spec.pip.dependencies or job.spec.pip.local):
        return Part(lock=bare, requirements=None, tools={})
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
            return Part(lock=part, requirements=previous, tools={})
    return _ask_pip(job, platform, bare, previous, old)


def _is_same_python(old: PlatformLock, new: PlatformLock, upgrade: Upgrade) -> bool:
    """Return whether wheels stay: a new base may bring another patch release, no other minor."""
    if upgrade.base:
        return old.python_minor == new.python_minor
    return old.python == new.python


def _ask_pip(
    job: Job,
    platform: Platform,
    bare: PlatformLock,
    previous: bytes | None,
    old: PlatformLock | None,
) -> Part:
    from envbuild.lock.conda_names import find_python_names
    from envbuild.lock.pip import resolve_pip

    def find_names(_: Progress) -> Mapping[str, str]:
        return find_python_names(
            bare.conda, settings=job.settings, cache=job.cache, logs=job.cache.logs
        )

    constraints: Mapping[str, str] = {}
    if bare.conda:
        key = make_key("conda-names", bare.conda)
        constraints = job.sharing.solve(key, find_names, task=job.name, progress=job.progress)
    work = job.work / platform.subdir
    work.mkdir()
    solution = resolve_pip(
        job.spec, platform=platform, python=bare.python, glibc=bare.glibc,
        constraints=constraints, previous=previous, upgrade=job.upgrade, work=work,
        cache=job.cache, progress=job.progress, task=job.name, root=job.root, old=old,
        sharing=job.sharing,
    )  # fmt: skip
    return Part(
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
