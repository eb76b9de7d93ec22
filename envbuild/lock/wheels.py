"""Fetches locked wheels into the cache: by pip, from whatever index has exactly that file."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from envbuild.errors import LockError
from envbuild.kit.disk import disk_errors
from envbuild.kit.files import remove_abandoned
from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.lock.model import Wheel
from envbuild.lock.pip_download import Batch, download_batches
from envbuild.lock.pip_indexes import find_indexes
from envbuild.spec.model import EnvSpec
from envbuild.spec.platforms import Platform

__all__ = ["fetch_wheels"]

_ALONE: Final = 4
"""So many wheels are left to one pip: starting a second costs as much as it saves."""
_TICK: Final = 0.2
"""Seconds between two looks at what has arrived."""


def fetch_wheels(
    wheels: Sequence[Wheel],
    *,
    spec: EnvSpec,
    platform: Platform,
    python_minor: str,
    cache: Cache,
    progress: Progress,
    task: str,
) -> Mapping[str, Path]:
    """Return each wheel's file in `cache.packages`, by SHA-256 (hex).

    Those that are not there are downloaded from the indexes of `spec` on this machine. What no
    index has is for `source_again.get_wheels`.

    Raises `LockError`: `lock.artifact-gone` (no index has the file any more),
    `lock.hash-mismatch` (what it has under that name is something else), `lock.wrong-size`,
    `lock.index`.
    """
    places = {wheel.sha256: cache.package(wheel.sha256, wheel.filename) for wheel in wheels}
    missing = [
        wheel
        for wheel in wheels
        if cache.find_package(wheel.sha256, wheel.filename, wheel.size) is None
    ]
    if not missing:
        return places
    indexes = find_indexes(spec, logs=cache.logs)
    with disk_errors(cache.packages):
        cache.packages.mkdir(parents=True, exist_ok=True)
        remove_abandoned(cache.packages)
        # On the cache's own file system, so that a finished file can be moved into its place.
        with tempfile.TemporaryDirectory(
            prefix=".wheels-", suffix=".part", dir=cache.packages
        ) as name:
            batches = [
                Batch(
                    wheels=part, folder=Path(name) / str(number), indexes=indexes,
                    python_minor=python_minor, logs=cache.logs, task=task,
                )
                for number, part in enumerate(_share(missing))
            ]  # fmt: skip
            total = sum(wheel.size for wheel in missing)
            doing = f"downloading {len(missing)} wheels for {platform.subdir}"
            with _reported(Path(name), total, progress, task, doing):
                found = download_batches(batches)
            for wheel in missing:
                _check_size(found[wheel.sha256], wheel, task)
                _keep(found[wheel.sha256], places[wheel.sha256])
    return places


def _check_size(path: Path, wheel: Wheel, task: str) -> None:
    """Refuse a wheel whose locked size is wrong: sizes decide which wheels share a layer.

    With another size of the same file, the same tag would name another image.
    """
    size = path.stat().st_size
    if size != wheel.size:
        raise LockError(
            "lock.wrong-size",
            f"`{wheel.filename}` has {size} bytes, and the lock of `{task}` says {wheel.size}, as "
            "the package index did",
            hint="tell whoever runs the index that it gives wrong sizes; to lock what it says now, "
            f"run `nox -s lock -- {task} --upgrade-package {wheel.name}`",
        )


def _share(wheels: Sequence[Wheel]) -> list[tuple[Wheel, ...]]:
    """Share wheels out among at most two, so that both have about as many bytes to fetch."""
    if len(wheels) <= _ALONE:
        return [tuple(wheels)]
    parts: tuple[list[Wheel], list[Wheel]] = ([], [])
    for wheel in sorted(wheels, key=lambda w: (-w.size, w.filename)):
        min(parts, key=lambda part: sum(w.size for w in part)).append(wheel)
    return [tuple(part) for part in parts if part]


def _keep(found: Path, place: Path) -> None:
    """Move a verified file to its place, where another process may have put the same one."""
    place.parent.mkdir(exist_ok=True)
    found.chmod(0o644)
    found.replace(place)


@contextlib.contextmanager
def _reported(
    folder: Path, total: int, progress: Progress, task: str, doing: str
) -> Iterator[None]:
    """Report the bytes that have arrived below `folder` while the block runs."""
    ended = threading.Event()

    def watch() -> None:
        done = 0
        while not ended.wait(_TICK):
            # pip moves files about, and a moment finds some in neither place.
            done = max(done, min(_measure(folder), total))
            progress.update(task, doing, done, total)

    progress.update(task, doing, 0, total)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _measure(folder: Path) -> int:
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += Path(parent, name).lstat().st_size
    return size
