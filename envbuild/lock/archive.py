"""Debian archives: which ones serve a suite, and their package indexes, verified and kept.

In `Cache.indexes`: `releases/` has the newest `InRelease` of each suite (lock/release.py), and
`packages/<sha256 hex>` plain `Packages` files, each named by the hash that a release states.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

from envbuild.errors import EnvbuildError, LockError
from envbuild.kit.canonical import CHUNK, digest_file
from envbuild.kit.crew import run_crew
from envbuild.kit.disk import disk_errors
from envbuild.kit.fetch import fetch_file
from envbuild.kit.files import atomic_writer, exclusive
from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.kit.urls import strip_credentials
from envbuild.lock.apt_auth import find_login
from envbuild.lock.apt_sources import (
    AptConfig,
    ArchiveSource,
    find_apt_config,
    find_apt_sources,
)
from envbuild.lock.release import Release, ReleaseFile, find_release

if TYPE_CHECKING:
    from envbuild.spec.settings import Settings

__all__ = ["DebianArchive", "find_archives", "load_archives"]

_STILL_FRESH: Final = 60.0
"""Seconds for which this process takes a release for the newest: many environments, one look."""

_COMPRESSIONS: Final = (".xz", ".gz", "")
"""Best first; what a release lists need not be there, but what is there is listed."""

_recent: dict[tuple[Path, ArchiveSource], tuple[float, Release | None]] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class DebianArchive:
    """One suite of one archive: its verified package indexes for one architecture."""

    root: str
    suite: str
    files: tuple[Path, ...]
    """Plain `Packages` files in the cache."""


def find_archives(settings: Settings, suite: str) -> tuple[ArchiveSource, ...]:
    """Return where packages of `suite`, its updates and its security fixes may come from.

    Those are the archives that the settings name, or else apt's sources on this machine. Where apt
    doesn't name the suite, because the machine runs another one, the archives it knows are asked
    for it: one archive has many suites, and who signed decides what is believed. No network.
    Raises `LockError` `lock.no-archive`.
    """
    wanted = (suite, f"{suite}-updates", f"{suite}-security")
    known = find_apt_sources(find_apt_config())
    found = tuple(source for source in known if source.suite in wanted)
    if not settings.debian_archives and any(source.suite == suite for source in found):
        return found
    roots = [root.rstrip("/") for root in settings.debian_archives or (s.root for s in known)]
    if not roots:
        raise _no_archive(suite)
    return tuple(_source(root, name, known) for root in dict.fromkeys(roots) for name in wanted)


def _source(root: str, suite: str, known: Sequence[ArchiveSource]) -> ArchiveSource:
    # If apt knows the same archive, it also knows whose signature it wants there.
    same = next((source for source in known if source.root == root), None)
    if same is None:
        return ArchiveSource(root=root, suite=suite, optional=True)
    return ArchiveSource(
        root=root,
        suite=suite,
        keyrings=same.keyrings,
        inline_key=same.inline_key,
        fingerprints=same.fingerprints,
        optional=True,
    )


def _no_archive(suite: str) -> LockError:
    return LockError(
        "lock.no-archive",
        f"no archive for Debian suite `{suite}` is known: this machine's apt names none",
        hint="to name one that has it, write into `[tool.envbuild]` of pyproject.toml: "
        'debian-archives = ["https://mirror.example.com/debian"]',
    )


def load_archives(
    suite: str,
    architecture: str,
    *,
    settings: Settings,
    cache: Cache,
    progress: Progress,
    task: str,
) -> tuple[DebianArchive, ...]:
    """Return the archives of `suite` with their indexes in the cache, verified and up to date.

    Raises what `find_archives` and `find_release` raise, and `LockError`
    `lock.archive-architecture`, `lock.archive-damaged` or `lock.archive-down`.
    """
    sources = find_archives(settings, suite)
    config = find_apt_config()
    progress.update(task, f"reading the index of Debian {suite}", 0, len(sources))

    def load(source: ArchiveSource, _check: Callable[[], None]) -> DebianArchive | None:
        # One at a time per suite, so that side by side no index is downloaded twice.
        name = hashlib.sha256(f"{source.root} {source.suite}".encode()).hexdigest()[:32]
        with exclusive(cache.indexes / "releases" / f"{name}.lock"):
            release = _find_release(source, config, cache)
            if release is None:
                return None
            return _load(source, config, release, architecture, cache, progress, task)

    found = tuple(archive for archive in run_crew(load, sources, threads=len(sources)) if archive)
    if not any(archive.suite == suite for archive in found):
        raise _no_suite(suite, architecture, sources, found)
    return found


def _no_suite(
    suite: str,
    architecture: str,
    sources: Sequence[ArchiveSource],
    found: Sequence[DebianArchive],
) -> LockError:
    roots = ", ".join(f"`{strip_credentials(s)}`" for s in dict.fromkeys(s.root for s in sources))
    has = ", ".join(f"`{archive.suite}`" for archive in found)
    also = f", only {has}" if has else ""
    return LockError(
        "lock.archive-suite",
        f"no archive has suite `{suite}` for `{architecture}`{also}; asked were {roots}",
        hint="check the suite's name, or name another archive as `debian-archives` in "
        "`[tool.envbuild]`",
    )


def _find_release(source: ArchiveSource, config: AptConfig, cache: Cache) -> Release | None:
    key = (cache.root, source)
    moment, release = _recent.get(key, (0.0, None))
    if moment and time.monotonic() - moment < _STILL_FRESH:
        return release
    release = find_release(source, config, folder=cache.indexes / "releases")
    _recent[key] = (time.monotonic(), release)
    return release


def _load(
    source: ArchiveSource,
    config: AptConfig,
    release: Release,
    architecture: str,
    cache: Cache,
    progress: Progress,
    task: str,
) -> DebianArchive | None:
    if architecture not in release.architectures:
        if source.optional or source.suite.endswith(("-updates", "-security")):
            return None
        raise LockError(
            "lock.archive-architecture",
            f"suite `{source.suite}` of `{strip_credentials(source.root)}` has no packages for "
            f"`{architecture}`",
            hint="take that platform out of the spec's `platforms`, or name an archive that has it "
            "as `debian-archives` in `[tool.envbuild]`",
        )
    kinds = (architecture, "all") if release.all_apart else (architecture,)
    folders = [f"{part}/binary-{kind}" for part in source.components for kind in kinds]
    listed = [folder for folder in folders if f"{folder}/Packages" in release.files]
    files = [
        _find_index(source, config, release, folder, cache, progress, task) for folder in listed
    ]
    return DebianArchive(root=source.root, suite=source.suite, files=tuple(files))


def _find_index(
    source: ArchiveSource,
    config: AptConfig,
    release: Release,
    folder: str,
    cache: Cache,
    progress: Progress,
    task: str,
) -> Path:
    """Return the plain `Packages` file of `folder`, downloaded if its content isn't known yet."""
    plain = release.files[f"{folder}/Packages"]
    target = cache.indexes / "packages" / plain.sha256
    if target.is_file() and digest_file(target) == f"sha256:{plain.sha256}":
        return target
    suffix = next(s for s in _COMPRESSIONS if f"{folder}/Packages{s}" in release.files)
    packed = release.files[f"{folder}/Packages{suffix}"]
    base = f"{source.root}/dists/{source.suite}/{folder}"
    urls = [f"{base}/Packages{suffix}"]
    if release.by_hash:
        urls.insert(0, f"{base}/by-hash/SHA256/{packed.sha256}")
    download = cache.indexes / "packages" / f"{packed.sha256}.part{suffix}"
    try:
        fetch_file(
            urls, sha256=packed.sha256, target=download, size=packed.size,
            progress=progress, task=task, shown=_say_index(source.suite, folder),
            own=partial(find_login, config=config),
        )  # fmt: skip
        _unpack(download, suffix, plain, target)
    except EnvbuildError as error:
        raise _explain(error, f"{base}/Packages{suffix}") from error
    finally:
        download.unlink(missing_ok=True)
    return target


def _say_index(suite: str, folder: str) -> str:
    """Return such as `bookworm/main amd64 Packages`, as apt says it."""
    component, _, architecture = folder.rpartition("/binary-")
    return f"{suite}/{component} {architecture} Packages"


def _unpack(download: Path, suffix: str, plain: ReleaseFile, target: Path) -> None:
    digest = hashlib.sha256()
    with disk_errors(target), atomic_writer(target) as out, _open(download, suffix) as stream:
        for chunk in _read(stream):
            digest.update(chunk)
            out.write(chunk)
        if digest.hexdigest() != plain.sha256:
            raise EnvbuildError("fetch.hash-mismatch", "its content is not what the release states")


def _open(file: Path, suffix: str) -> IO[bytes]:
    import gzip
    import lzma

    if suffix == ".xz":
        return cast("IO[bytes]", lzma.open(file))
    return cast("IO[bytes]", gzip.open(file)) if suffix == ".gz" else file.open("rb")


def _read(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk


def _explain(error: EnvbuildError, url: str) -> EnvbuildError:
    """Return a failed download of an index in words about the archive."""
    shown = strip_credentials(url)
    if error.code in {"fetch.gone", "fetch.hash-mismatch"}:
        return LockError(
            "lock.archive-damaged",
            f"`{shown}` is not the file that the archive's signed release lists",
            hint="the archive may be in the middle of an update; try again in a few minutes",
        )
    if error.code == "fetch.failed":
        return LockError("lock.archive-down", error.message, hint=error.hint)
    return error
