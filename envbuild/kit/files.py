"""Files that are whole or absent: atomic writes, temporary folders, locks between processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

__all__ = [
    "atomic_folder",
    "atomic_writer",
    "exclusive",
    "read_plain",
    "remove_abandoned",
    "write_atomic",
]

_PAUSE: Final = 0.05
"""Seconds between two attempts to get a lock that somebody else holds."""

_ABANDONED: Final = 24 * 3600
"""Seconds after which something unfinished has lost the process that wrote it."""


@contextlib.contextmanager
def atomic_writer(path: Path, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Give a binary file that takes `path`'s place when the block ends without an error.

    The bytes go to a hidden file in the same folder; on any error, Ctrl-C among them, it is
    removed and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_plain(path: Path) -> bytes:
    """Return a file's bytes, as `Path.read_bytes` does, and refuse what one may wait for: a pipe.

    Raises `OSError` as that does, with these words for what is neither file nor folder.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path.read_bytes()


def write_atomic(path: Path, data: bytes | str, *, mode: int = 0o644) -> bool:
    """Write `data` to `path` as a whole; return False, touching nothing, if it holds it already."""
    raw = data.encode() if isinstance(data, str) else data
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == raw:
            return False
    with atomic_writer(path, mode=mode) as file:
        file.write(raw)
    return True


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `path` when the block ends without an error.

    `path` must not exist; if another process made it meanwhile, theirs stays and ours goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield work
        work.chmod(0o755)
        try:
            work.rename(path)
        except OSError:
            if not path.is_dir():
                raise
            shutil.rmtree(work, ignore_errors=True)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def remove_abandoned(folder: Path, pattern: str = ".*.part") -> int:
    """Remove what killed processes left unfinished in `folder` a day ago; return how many.

    `pattern` is a glob of what is named as above: a dot first, `.part` last.
    """
    removed = 0
    for part in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - part.lstat().st_mtime > _ABANDONED:
                if part.is_dir():
                    shutil.rmtree(part, ignore_errors=True)
                else:
                    part.unlink()
                removed += 1
    return removed


@contextlib.contextmanager
def exclusive(path: Path, *, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold the lock file `path` against other processes and threads while the block runs.

    `waiting` is called once if somebody else holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _take(handle):
            if waiting is not None:
                waiting()
            # Asked now and then, for a thread that sleeps in the kernel hears of no Ctrl-C.
            while not _take(handle):
                time.sleep(_PAUSE)
        yield
    finally:
        os.close(handle)  # which gives the lock back


def _take(handle: int) -> bool:
    """Return whether the lock is ours now; an open file has it, so threads exclude each other."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
