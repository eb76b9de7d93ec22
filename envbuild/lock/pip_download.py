"""Downloads wheels by pip, by their hashes, and says what it means when that fails."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuild.errors import EnvbuildError, LockError
from envbuild.kit.canonical import digest_file
from envbuild.kit.crew import run_crew
from envbuild.kit.process import ToolExitError, run_tool
from envbuild.lock.model import Wheel
from envbuild.lock.names import normalise_name
from envbuild.lock.pip_failures import explain_disk, find_broken_index, find_silent_host
from envbuild.lock.pip_indexes import Indexes, pip_environment

__all__ = ["Batch", "download_batches"]

_MISMATCH: Final = re.compile(r"DO NOT MATCH THE HASHES.*?\n\s+([A-Za-z0-9._-]+)==", re.DOTALL)
_NO_MATCH: Final = re.compile(r"No matching distribution found for ([A-Za-z0-9._-]+)==")
_NOT_FOUND: Final = re.compile(r"HTTP error 4(?:04|10) .*/([A-Za-z0-9._]+)-[^/\s]+\.whl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Wheels for one pip, and the new folder that it works in."""

    wheels: tuple[Wheel, ...]
    folder: Path
    indexes: Indexes
    python_minor: str
    logs: Path
    task: str


def download_batches(batches: Sequence[Batch]) -> Mapping[str, Path]:
    """Return the files of all wheels by SHA-256 (hex), hashes verified; sizes don't count here.

    Each batch is one pip, and they run side by side.

    Raises `LockError`: `lock.artifact-gone`, `lock.hash-mismatch`, `lock.index`.
    """

    def work(batch: Batch, check: Callable[[], None]) -> dict[str, Path] | EnvbuildError:
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


def _download(batch: Batch) -> dict[str, Path]:
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


def _check(path: Path, wheel: Wheel, batch: Batch) -> Path:
    if not path.is_file():
        raise _gone(wheel, batch, "under that name")
    if digest_file(path) != f"sha256:{wheel.sha256}":
        raise _mismatch(wheel, batch)
    return path


def _explain(error: ToolExitError, batch: Batch) -> EnvbuildError | None:
    """Return the purposeful error for a failure of `pip download`, or None if there is none."""
    if error.returncode < 0:  # ended from outside, by Ctrl-C among others
        return None
    if found := explain_disk(error.output, batch.folder):
        return found
    by_name = {normalise_name(wheel.name): wheel for wheel in batch.wheels}
    mismatch = _MISMATCH.search(error.output)
    if mismatch and (wheel := by_name.get(normalise_name(mismatch[1]))):
        return _mismatch(wheel, batch)
    names = [*_NO_MATCH.findall(error.output), *_NOT_FOUND.findall(error.output)]
    if broken := find_broken_index(batch.indexes, names or by_name):
        return broken
    if silent := find_silent_host(error.output):
        return silent
    for name in names:
        if wheel := by_name.get(normalise_name(name)):
            return _gone(wheel, batch, "any longer")
    return None


def _gone(wheel: Wheel, batch: Batch, how: str) -> LockError:
    return LockError(
        "lock.artifact-gone",
        f"no package index of this machine has `{wheel.filename}` {how}, which is locked for "
        f"`{batch.task}`",
        hint=_advise(wheel, batch),
    )


def _mismatch(wheel: Wheel, batch: Batch) -> LockError:
    return LockError(
        "lock.hash-mismatch",
        f"what the index has as `{wheel.filename}` is not what was locked for `{batch.task}`: "
        "its SHA-256 differs",
        hint="find out who changed it; " + _advise(wheel, batch),
    )


def _advise(wheel: Wheel, batch: Batch) -> str:
    command = f"nox -s lock -- {batch.task} --upgrade-package {wheel.name}"
    return f"to lock what the index has now, run `{command}`"
