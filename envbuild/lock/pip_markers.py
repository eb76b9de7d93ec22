"""Evaluates environment markers for the machine that is locked for, not for this one."""

from __future__ import annotations

from typing import Final

from envbuild.lock.pip_job import PipJob

__all__ = ["holds"]

_SYSTEMS: Final = {
    "linux": ("linux", "Linux", "posix"),
    "darwin": ("darwin", "Darwin", "posix"),
    "windows": ("win32", "Windows", "nt"),
}
"""By the platform's system: `sys_platform`, `platform_system` and `os_name`."""


def holds(marker: str, job: PipJob) -> bool:
    """Say whether `marker` (empty: always) holds on the job's target; its release is unknown."""
    if not marker:
        return True
    from packaging.markers import Marker

    system = _SYSTEMS[job.platform.os]
    full = job.python if job.python.count(".") > 1 else f"{job.python}.0"
    return Marker(marker).evaluate(
        {
            "sys_platform": system[0],
            "platform_system": system[1],
            "os_name": system[2],
            "platform_machine": job.platform.machine,
            "platform_release": "",
            "platform_version": "",
            "python_version": job.minor,
            "python_full_version": full,
            "implementation_name": "cpython",
            "implementation_version": full,
            "platform_python_implementation": "CPython",
            "extra": "",
        }
    )
