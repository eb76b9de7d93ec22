"""Fetches locked wheels into the cache: by pip, from whatever index has exactly that file."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuild.errors import EnvbuildError, LockError
from envbuild.kit.canonical import digest_file
from envbuild.kit.crew import run_crew
from envbuild.kit.disk import disk_errors
from envbuild.kit.places import Cache
from envbuild.kit.process import ToolExitError, run_tool
from envbuild.kit.progress import Progress
from envbuild.lock.model import Wheel
from envbuild.lock.names import normalise_name
from envbuild.lock.pip_failures import explain_disk, find_broken_index, find_silent_host
from envbuild.lock.pip_indexes import Indexes, find_indexes, pip_environment
from envbuild.spec.model import EnvSpec
from envbuild.spec.platforms import Platform

__all__ = ["download_wheels", "fetch_wheels"]

_ALONE: Final = 4
"""So many wheels are left to one pip: starting a second costs as much as it saves."""
_TICK: Final = 0.2
"""Seconds between two looks at what has arrived."""
_MISMATCH: Final = re.compile(r"DO NOT MATCH THE HASHES.*?\n\s+([A-Za-z0-9._-]+)==", re.DOTALL)
_NO_MATCH: Final = re.compile(r"No matching distribution found for ([A-Za-z0-9._-]+)==")
_NOT_FOUND: Final = re.compile(r"HTTP error 4(?:04|10) .*/([A-Za-z0-9._]+)-[^/\s]+\.whl")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Batch:
    """Wheels for one pip, and the folder it works in."""

    wheels: tuple[Wheel, ...]
    folder: Path
    indexes: Indexes
    python_minor: str
    logs: Path
    task: str


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

    A file gets there only whole and with the right hash, so one that is there with the right size
    is taken. The others are downloaded from the indexes of `spec` on this machine.

    Raises `LockError`: `lock.artifact-gone` (no index has the file any more),
    `lock.hash-mismatch` (what it has under that name is something else), `lock.index`.
    """
    places = {wheel.sha256: _place(cache, wheel) for wheel in wheels}
    missing = [wheel for wheel in wheels if not _is_there(places[wheel.sha256], wheel.size)]
    if not missing:
        return places
    indexes = find_indexes(spec, logs=cache.logs)
    with disk_errors(cache.packages):
        cache.packages.mkdir(parents=True, exist_ok=True)
        # On the cache's own file system, so that a finished file can be moved into its place.
        with tempfile.TemporaryDirectory(prefix=".wheels-", dir=cache.packages) as name:
            batches = [
                _Batch(
                    wheels=part, folder=Path(name) / str(number), indexes=indexes,
                    python_minor=python_minor, logs=cache.logs, task=task,
                )
                for number, part in enumerate(_share(missing))
            ]  # fmt: skip
            total = sum(wheel.size for wheel in missing)
            doing = f"downloading {len(missing)} wheels for {platform.subdir}"
            with _reported(Path(name), total, progress, task, doing):
                found = _run(batches)
            for wheel in missing:
                _keep(found[wheel.sha256], places[wheel.sha256])
    return places


def download_wheels(
    wheels: Sequence[Wheel],
    *,
    folder: Path,
    indexes: Indexes,
    python_minor: str,
    logs: Path,
    task: str,
) -> Mapping[str, Path]:
    """Return files of `wheels` in the new folder `folder`, hashes verified, by SHA-256 (hex).

    Sizes don't count here. Raises as `fetch_wheels` does.
    """
    batch = _Batch(
        wheels=tuple(wheels), folder=folder, indexes=indexes, python_minor=python_minor,
        logs=logs, task=task,
    )  # fmt: skip
    return _run([batch])


def _place(cache: Cache, wheel: Wheel) -> Path:
    return cache.packages / wheel.sha256 / wheel.filename


def _is_there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _share(wheels: Sequence[Wheel]) -> list[tuple[Wheel, ...]]:
    """Share wheels out among at most two, so that both have about as many bytes to fetch."""
    if len(wheels) <= _ALONE:
        return [tuple(wheels)]
    parts: tuple[list[Wheel], list[Wheel]] = ([], [])
    for wheel in sorted(wheels, key=lambda w: (-w.size, w.filename)):
        min(parts, key=lambda part: sum(w.size for w in part)).append(wheel)
    return [tuple(part) for part in parts if part]


def _run(batches: Sequence[_Batch]) -> dict[str, Path]:
    def work(batch: _Batch, check: Callable[[], None]) -> dict[str, Path] | EnvbuildError:
        check()
        # A failure waits for the other pip, whose files would be gone under its hands.
        try:
            return _download(batch)
        except EnvbuildError as error:
            return error

    results = run_crew(work, batches, threads=len(batches))
    found: dict[str, Path] = {}
    for result in results:
        if isinstance(result, EnvbuildError):
            raise result
        found |= result
    return found


def _download(batch: _Batch) -> dict[str, Path]:
    files = batch.folder / "files"
    scratch = batch.folder / "scratch"
    files.mkdir(parents=True)
    scratch.mkdir()
    request = batch.folder / "wheels.txt"
    lines = (f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in batch.wheels)
    request.write_text("".join(lines), encoding="utf-8")
    argv = [
        sys.executable, "-m", "pip", "download", "--quiet", "--progress-bar", "off",
        "--no-deps", "--require-hashes", "--only-binary=:all:", "--ignore-requires-python",
        "--python-version", batch.python_minor,
        *(f"--platform={name}" for name in _find_platforms(batch.wheels)),
        "--dest", str(files), "--requirement", str(request),
    ]  # fmt: skip
    environment = pip_environment(batch.indexes) | {"TMPDIR": str(scratch)}
    try:
        run_tool(argv, tool="pip", env=environment, logs=batch.logs, secrets=batch.indexes.secrets)
    except ToolExitError as error:
        found = _explain(error, batch)
        if found is None:
            raise
        raise found from error
    return {wheel.sha256: _check(files / wheel.filename, wheel, batch) for wheel in batch.wheels}


def _find_platforms(wheels: Sequence[Wheel]) -> list[str]:
    """Return the platform tags of `wheels`: what the lock chose is what pip may take."""
    return sorted({tag for w in wheels for tag in w.filename[:-4].rsplit("-", 1)[1].split(".")})


def _check(path: Path, wheel: Wheel, batch: _Batch) -> Path:
    if not path.is_file():
        raise _gone(wheel, batch, "under another name")
    if digest_file(path) != f"sha256:{wheel.sha256}":
        raise _mismatch(wheel, batch)
    return path


def _keep(found: Path, place: Path) -> None:
    """Move a verified file to its place, where another process may have put the same one."""
    place.parent.mkdir(exist_ok=True)
    found.chmod(0o644)
    found.replace(place)


def _explain(error: ToolExitError, batch: _Batch) -> EnvbuildError | None:
    """Return the purposeful error for a failure of `pip download`, or None if there is none."""
    if error.returncode < 0:  # ended from outside, by Ctrl-C among others
        return None
    if found := explain_disk(error.output, batch.folder):
        return found
    by_name = {normalise_name(wheel.name): wheel for wheel in batch.wheels}
    mismatch = re.search(
        r"DO NOT MATCH THE HASHES.*?\n\s+([A-Za-z0-9._-]+)==", error.output, re.DOTALL
    )
    if mismatch and (wheel := by_name.get(normalise_name(mismatch[1]))):
        return _mismatch(wheel, batch)
    names = [*_NO_MATCH.findall(error.output), *_NOT_FOUND.findall(error.output)]
    if broken := find_broken_index(batch.indexes, names or by_name):
        return broken
    if silent := find_silent_host(error.output):
        return silent
    for name in names:
        if wheel := by_name.get(normalise_name(name)):
            return _gone(wheel, batch, "any more")
    return None


def _gone(wheel: Wheel, batch: _Batch, how: str) -> LockError:
    return LockError(
        "lock.artifact-gone",
        f"no package index of this machine has `{wheel.filename}` {how}, which is locked for "
        f"`{batch.task}`",
        hint=_advise(wheel, batch),
    )


def _mismatch(wheel: Wheel, batch: _Batch) -> LockError:
    return LockError(
        "lock.hash-mismatch",
        f"what the index has as `{wheel.filename}` is not what was locked for `{batch.task}`: "
        "its SHA-256 differs",
        hint="find out who changed it; " + _advise(wheel, batch),
    )


def _advise(wheel: Wheel, batch: _Batch) -> str:
    command = f"nox -s lock -- {batch.task} --upgrade-package {wheel.name}"
    return f"to lock what the index has now, run `{command}`"


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
                size += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118
    return size
