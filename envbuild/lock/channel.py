"""Fetches locked conda packages from their channels, or from the mirrors that stand in for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from envbuild.errors import EnvbuildError, LockError
from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.lock.conda_file import CondaEntry
from envbuild.lock.model import CondaPackage
from envbuild.spec.settings import Settings

__all__ = ["fetch_conda", "mirror_urls"]


def mirror_urls(url: str, mirrors: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the places to ask for `url`: its mirrors where the settings name some, else itself."""
    for prefix, replacements in mirrors.items():
        stem = prefix.rstrip("/") + "/"
        if url.startswith(stem):
            return tuple(r.rstrip("/") + "/" + url.removeprefix(stem) for r in replacements)
    return (url,)


def fetch_conda(
    package: CondaPackage | CondaEntry,
    *,
    settings: Settings,
    cache: Cache,
    progress: Progress,
    task: str,
) -> Path:
    """Return the package's archive in the cache, downloaded and checked if it wasn't there.

    Raises `LockError` where the channel no longer has it or serves other bytes.
    """
    from envbuild.kit.fetch import fetch_file

    target = cache.package(package.sha256, package.filename)
    urls = mirror_urls(package.url, settings.mirrors)
    try:
        return fetch_file(urls, sha256=package.sha256, target=target, progress=progress, task=task)
    except EnvbuildError as error:
        if error.code == "fetch.gone":
            raise LockError(
                "lock.artifact-gone",
                f"the channel no longer has `{package.filename}`",
                hint=f"to lock what it has now, run `nox -s lock -- {task} --upgrade`",
            ) from error
        if error.code == "fetch.hash-mismatch":
            raise LockError(
                "lock.hash-mismatch",
                error.message,
                hint="ask whoever runs the channel why before you lock it again with "
                f"`nox -s lock -- {task} --upgrade-package {package.name}`",
            ) from error
        raise
