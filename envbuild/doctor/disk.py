"""The cache and the temporary folder: can they be written, how full are they, what are they on?"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envbuild.doctor.finding import Finding, State, Visit

__all__ = ["check_disk"]

_LEAST: Final = 1 << 30
_ENOUGH: Final = 5 << 30
_COUNTING: Final = 5.0
"""Seconds for which the cache's files are counted."""

_FAR: Final = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "afs", "ceph", "lustre")
_PROBE: Final = bytes(4096)


def check_disk(visit: Visit) -> Iterator[Finding]:
    """Look at the disks that envbuild writes to."""
    cache = visit.workspace.cache.root
    yield from _check_folder("cache", cache, "ENVBUILD_CACHE")
    if cache.is_dir():
        yield _measure(cache)
    yield from _check_folder("temporary files", Path(tempfile.gettempdir()), "TMPDIR")


def _check_folder(subject: str, folder: Path, variable: str) -> Iterator[Finding]:
    hint = f"name another folder with `export {variable}=...`"
    place = next(p for p in (folder, *folder.parents) if p.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".envbuild-doctor-") as file:
            file.write(_PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = (error.strerror or "refused").lower()
        yield Finding(
            subject=subject, state="problem", message=f"`{folder}` can't be written: {reason}",
            hint=f"free some space, or check its owner with `ls -ld {place}`, or {hint}",
        )  # fmt: skip
        return
    kind = _find_kind(place)
    free = shutil.disk_usage(place).free
    state: State = "ok" if free >= _ENOUGH else "warning" if free >= _LEAST else "problem"
    yield Finding(
        subject=subject,
        state=state,
        message=f"`{folder}` ({kind or 'unknown file system'}) has {_say(free)} free",
        hint=None if state == "ok" else f"free some space, or {hint}",
    )
    if kind.startswith(_FAR):
        yield Finding(
            subject=subject, state="warning",
            message=f"`{folder}` is on another machine ({kind}): slow, and locks may not hold",
            hint=hint,
        )  # fmt: skip


def _find_kind(place: Path) -> str:
    """Return the type of the file system that a folder is on; "" where nobody says."""
    real = place.resolve()
    try:
        lines = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    mounts = [line.split() for line in lines]
    fitting = [m for m in mounts if len(m) > 2 and real.is_relative_to(_unescape(m[1]))]
    # Of two on one place, the later one hides the other.
    return max(enumerate(fitting), key=lambda m: (len(m[1][1]), m[0]))[1][2] if fitting else ""


def _unescape(text: str) -> str:
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _measure(cache: Path) -> Finding:
    total, count, end = 0, 0, time.monotonic() + _COUNTING
    for folder, _, files in os.walk(cache):
        for name in files:
            try:
                total += Path(folder, name).lstat().st_blocks * 512
            except OSError:
                continue
            count += 1
        if time.monotonic() > end:
            return Finding(subject="cache", message=f"holds more than {_say(total)}")
    return Finding(subject="cache", message=f"holds {_say(total)} in {count} files")


def _say(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 100_000_000 else f"{size / 1e6:.1f} MB"
