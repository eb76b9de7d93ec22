"""End all that a script started on this machine, also what left its process group.

A process and all of its descendants have the variable `ENVBUILD_RUN` in the environment that they
were started with, and `/proc/PID/environ` (proc(5)) shows it; a program that starts another one
with an empty environment hides it. Systems without `/proc` find nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Final

__all__ = ["MARK", "end_family", "find_family"]

MARK: Final = "ENVBUILD_RUN"
"""Name of the variable; its value is the run's ID."""
_ROUNDS: Final = 50
_PAUSE_SECONDS: Final = 0.05


def find_family(run_id: str) -> tuple[int, ...]:
    """Return the PIDs of the processes of a run that this user may look at."""
    wanted = os.fsencode(f"{MARK}={run_id}")
    found = []
    # "environ" in the pattern would have glob ask for it, and raise where a process just ended.
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return tuple(found)


def end_family(run_id: str, *, grace: float = 0.0) -> None:
    """End the processes of a run: SIGTERM and `grace` seconds first if there are any, then SIGKILL.

    It goes on until none is left: a process may have made another one in between.
    """
    if grace and _send(run_id, signal.SIGTERM):
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and find_family(run_id):
            time.sleep(_PAUSE_SECONDS)
    for _ in range(_ROUNDS):
        if not _send(run_id, signal.SIGKILL):
            return
        time.sleep(_PAUSE_SECONDS)


def _send(run_id: str, number: int) -> bool:
    """Send a signal to all of them; False if there is none."""
    family = find_family(run_id)
    for pid in family:
        with contextlib.suppress(OSError):
            os.kill(pid, number)
    return bool(family)
