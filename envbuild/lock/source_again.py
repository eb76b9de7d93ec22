"""Gets locked wheels: from an index, from the repository, or built again from a locked source."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from envbuild.errors import LockError
from envbuild.kit.canonical import digest_file
from envbuild.lock.built import Built, Order, build_once, keep_file
from envbuild.lock.model import Source, Wheel
from envbuild.lock.pip_indexes import find_indexes
from envbuild.lock.pip_job import PipJob
from envbuild.lock.provenance import Provenance, Shop
from envbuild.lock.source import find_file, order_git, order_sdist
from envbuild.lock.source_tree import find_requires
from envbuild.lock.upgrade import Upgrade
from envbuild.lock.wheel_choice import MACOS
from envbuild.lock.wheels import fetch_wheels
from envbuild.spec.formats import Direct, parse_direct
from envbuild.spec.model import EnvSpec
from envbuild.spec.platforms import Platform, find_host_platform

__all__ = ["get_wheels"]


def get_wheels(
    wheels: Sequence[Wheel], provenance: Provenance | None, *, shop: Shop, platform: Platform
) -> Mapping[str, Path]:
    """Return each wheel's file in the cache, by SHA-256 (hex); what is there is taken.

    What `provenance` knows another source of is copied from the repository or built again, and
    the rest is downloaded (`wheels.fetch_wheels`, whose errors it raises).

    Raises `LockError`: `pip.wheel-missing` and `pip.wheel-changed` for a file of the repository,
    `pip.source-foreign` for what only another kind of machine can build, `pip.rebuild-differs`
    for a build that gave something else, `pip.source-gone`, `pip.source-changed`, `pip.git`, and
    what building raises.
    """
    found: dict[str, Path] = {}
    if provenance is not None:
        for wheel in wheels:
            source = provenance.find_source(wheel.sha256)
            if source is not None:
                kept = shop.cache.find_package(wheel.sha256, wheel.filename, wheel.size)
                again = kept or _get_again(wheel, source, provenance, shop, platform)
                found[wheel.sha256] = again
    rest = [wheel for wheel in wheels if wheel.sha256 not in found]
    return found | dict(
        fetch_wheels(
            rest, spec=shop.spec, platform=platform, python_minor=shop.minor, cache=shop.cache,
            progress=shop.progress, task=shop.task,
        )
    )  # fmt: skip


def _get_again(
    wheel: Wheel, source: Source, provenance: Provenance, shop: Shop, platform: Platform
) -> Path:
    if source.kind == "file":
        return _copy(wheel, source, provenance, shop)
    _check_host(wheel, shop, platform)
    with tempfile.TemporaryDirectory(prefix="envbuild-again-") as folder:
        order = _order(wheel, source, provenance, shop, platform, Path(folder))
        built = build_once(
            order, shop, requires=find_requires(provenance.lock.build, source.requires)
        )
    return _compare(wheel, built, shop)


def _copy(wheel: Wheel, source: Source, provenance: Provenance, shop: Shop) -> Path:
    file = find_file(provenance.root, source.place, task=shop.task)
    if digest_file(file) != f"sha256:{wheel.sha256}":
        raise LockError(
            "pip.wheel-changed",
            f"`{source.place}` is not the file that was locked for `{shop.task}`",
            hint=f"restore it with `git checkout -- {source.place}`; "
            f"to lock what is there now, run `nox -s lock -- {shop.task}`",
        )
    return keep_file(file, wheel, shop.cache)


def _check_host(wheel: Wheel, shop: Shop, platform: Platform) -> None:
    pure = wheel.filename.endswith("-any.whl")
    if pure or find_host_platform() == platform:
        return
    raise LockError(
        "pip.source-foreign",
        f"`{wheel.filename}` of `{shop.task}` is built from source, and only a machine of "
        f"`{platform.subdir}` can build it",
        hint=f"run `nox -s build-env -- {shop.task} --push` on such a machine: others take its "
        "layer from the registry",
    )


def _order(
    wheel: Wheel,
    source: Source,
    provenance: Provenance,
    shop: Shop,
    platform: Platform,
    folder: Path,
) -> Order:
    if source.kind == "git":
        return order_git(_find_direct(wheel, source, shop), source.pin, logs=shop.cache.logs)
    from envbuild.lock.build_sdist import find_sdist

    job = PipJob(
        task=shop.task, requirements=(), platform=platform, python=provenance.lock.python,
        glibc=provenance.lock.glibc, macos=MACOS, constraints={}, kept=(), upgrade=Upgrade(),
        indexes=find_indexes(shop.spec, logs=shop.cache.logs), work=folder, logs=shop.cache.logs,
        progress=shop.progress,
    )  # fmt: skip
    file = find_sdist(job, wheel.name, wheel.version, filename=source.place)
    if file.sha256 != source.pin:
        raise LockError(
            "pip.source-changed",
            f"what the index has as `{source.place}` is not what was locked for `{shop.task}`: "
            "its SHA-256 differs",
            hint="find out who changed it; to lock what the index has now, run "
            f"`nox -s lock -- {shop.task} --upgrade-package {wheel.name}`",
        )
    return order_sdist(job, file, packages=shop.cache.packages)


def _find_direct(wheel: Wheel, source: Source, shop: Shop) -> Direct:
    """Return the spec's requirement, which has the credentials; a lock never does."""
    found = filter(None, map(parse_direct, _list_requirements(shop.spec)))
    for direct in found:
        if direct.kind == "git" and direct.name == wheel.name:
            return direct
    return Direct(kind="git", name=wheel.name, url=source.place, subdirectory=source.subdirectory)


def _compare(wheel: Wheel, built: Built, shop: Shop) -> Path:
    if built.contents.wheel.sha256 == wheel.sha256:
        return built.path
    raise LockError(
        "pip.rebuild-differs",
        f"`{wheel.filename}` of `{shop.task}` was built from its locked source again, and came out "
        "as other bytes than were locked",
        hint=f"run `nox -s build-env -- {shop.task} --push` on the machine that locked it: others "
        "take its layer from the registry; or lock this build: "
        f"`nox -s lock -- {shop.task} --upgrade-package {wheel.name}`",
    )


def _list_requirements(spec: EnvSpec) -> list[str]:
    """Return the requirements of all platforms and of single ones."""
    extra = (text for one in spec.platform.values() for text in one.pip.dependencies)
    return [*spec.pip.dependencies, *extra]
