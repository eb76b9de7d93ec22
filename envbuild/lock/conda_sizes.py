"""Finds the sizes of conda archives: `conda-lock.yml` has none, and layers are planned by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from envbuild.kit.crew import run_crew
from envbuild.kit.http import shared_pool
from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.kit.urls import split_credentials
from envbuild.lock.channel import fetch_conda, mirror_urls
from envbuild.lock.conda_file import CondaEntry
from envbuild.lock.model import CondaPackage
from envbuild.spec.settings import Settings

__all__ = ["size_packages"]

_THREADS: Final = 8
_FIELDS: Final = tuple(field.name for field in fields(CondaEntry))


def size_packages(
    entries: Mapping[str, tuple[CondaEntry, ...]],
    *,
    known: Mapping[str, int],
    settings: Settings,
    cache: Cache,
    progress: Progress,
    task: str,
) -> dict[str, tuple[CondaPackage, ...]]:
    """Return the packages with their archives' sizes in bytes, by platform.

    `known` has sizes by SHA-256. For what it lacks, the cache, the channel or its mirror is asked;
    an archive that nobody tells the size of is downloaded. Raises what `fetch_conda` raises.
    """
    archives = {entry.sha256: entry for platform in entries.values() for entry in platform}
    sizes = {sha256: known.get(sha256, 0) for sha256 in archives}
    unknown = [entry for sha256, entry in archives.items() if not sizes[sha256]]

    def work(entry: CondaEntry, check: Callable[[], None]) -> int:
        check()
        size = _ask_size(entry, settings, cache)
        if size:
            return size
        file = fetch_conda(entry, settings=settings, cache=cache, progress=progress, task=task)
        return file.stat().st_size

    if unknown:
        progress.update(task, f"asking for the sizes of {len(unknown)} conda archives")
        found = run_crew(work, unknown, threads=_THREADS)
        sizes |= {entry.sha256: size for entry, size in zip(unknown, found, strict=True)}
    return {
        platform: tuple(_with_size(entry, sizes[entry.sha256]) for entry in rows)
        for platform, rows in entries.items()
    }


def _with_size(entry: CondaEntry, size: int) -> CondaPackage:
    return CondaPackage(**{name: getattr(entry, name) for name in _FIELDS}, size=size)


def _ask_size(entry: CondaEntry, settings: Settings, cache: Cache) -> int:
    """Return the size that the first place which knows it tells; 0 if none does."""
    places = (_measure(cache.package(entry.sha256, entry.filename)),)
    asked = (_ask_place(url) for url in mirror_urls(entry.url, settings.mirrors))
    return next((size for sizes in (places, asked) for size in sizes if size), 0)


def _ask_place(url: str) -> int:
    from urllib3.exceptions import HTTPError

    parts = urlsplit(url)
    if parts.scheme == "file":
        return _measure(Path(url2pathname(parts.path)))
    plain, headers = split_credentials(url)
    headers["Accept-Encoding"] = "identity"  # else the length may be that of other bytes
    try:
        answer = shared_pool().request("HEAD", plain, headers=headers)
    except HTTPError:
        return 0  # the download that follows says what is wrong
    length = answer.headers.get("Content-Length", "")
    return int(length) if answer.status == 200 and length.isdecimal() else 0


def _measure(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
