"""Say who owns a container or a record, so that what a dead process left can be told apart.

An owner is `HOST:PID:START`. HOST is this machine's name with a mark of its machine ID and PID
namespace, so that two machines (or two containers) never speak for each other's processes; START
is the process's start time in clock ticks (`/proc/PID/stat`, field 22, proc(5)), because PIDs are
used again.
"""

from __future__ import annotations

import functools
import hashlib
import os
import socket
from pathlib import Path

__all__ = ["find_owner", "is_gone"]


def find_owner(pid: int | None = None) -> str:
    """Return the owner text of process `pid` of this machine (default: this process)."""
    number = os.getpid() if pid is None else pid
    return f"{_host()}:{number}:{_start_time(number) or ''}"


def is_gone(owner: str) -> bool:
    """Return True only if `owner` is a process of this machine that doesn't run any more.

    Anything that can't be known from here (another machine, an unknown text) counts as alive.
    """
    parts = owner.split(":")
    if len(parts) != 3 or parts[0] != _host() or not parts[1].isdigit():
        return False
    pid, start = int(parts[1]), parts[2]
    now = _start_time(pid)
    if now is None:
        return not _exists(pid)
    return bool(start) and now != start


@functools.cache
def _host() -> str:
    marks = [_read("/etc/machine-id") or _read("/proc/sys/kernel/random/boot_id")]
    try:
        marks.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    except OSError:
        marks.append("")
    mark = hashlib.sha256("\n".join(marks).encode()).hexdigest()[:12]
    name = socket.gethostname().replace(":", "-")
    return f"{name}-{mark}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _start_time(pid: int) -> str | None:
    """Return the start time of a running process; None if there is none or no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    state, start = fields[0], fields[19]
    return None if state in {"Z", "X"} else start


def _exists(pid: int) -> bool:
    """Tell if a process exists; a zombie doesn't count where /proc can say so."""
    if Path("/proc/self/stat").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
