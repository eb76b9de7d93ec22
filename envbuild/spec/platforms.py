"""Platforms: conda's subdir (`linux-64`) and what other tools call the same machine."""

from __future__ import annotations

import platform as host
import sys
from dataclasses import dataclass
from typing import Final

__all__ = ["PLATFORMS", "Platform", "find_host_platform"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Platform:
    """One target machine under every name it goes by.

    `subdir` is conda's (`linux-64`); `os` and `architecture` are OCI's (`linux`, `amd64`);
    `debian` is dpkg's architecture, empty where Debian packages make no sense; `machine` is
    what `platform.machine()` says there.
    """

    subdir: str
    os: str
    architecture: str
    debian: str
    machine: str

    @property
    def oci(self) -> str:
        """The OCI name, `linux/amd64`."""
        return f"{self.os}/{self.architecture}"

    @property
    def has_image(self) -> bool:
        """True where an image can be made for it (containers are Linux)."""
        return self.os == "linux"


def _platform(subdir: str, os: str, architecture: str, debian: str, machine: str) -> Platform:
    return Platform(subdir=subdir, os=os, architecture=architecture, debian=debian, machine=machine)


PLATFORMS: Final[dict[str, Platform]] = {
    p.subdir: p
    for p in (
        _platform("linux-64", "linux", "amd64", "amd64", "x86_64"),
        _platform("linux-aarch64", "linux", "arm64", "arm64", "aarch64"),
        _platform("osx-64", "darwin", "amd64", "", "x86_64"),
        _platform("osx-arm64", "darwin", "arm64", "", "arm64"),
        _platform("win-64", "windows", "amd64", "", "AMD64"),
    )
}
"""All platforms a spec may name, by conda subdir."""


def find_host_platform() -> Platform | None:
    """Return the platform of this machine, or None where it is none of ours."""
    system = {"linux": "linux", "darwin": "darwin", "win32": "windows"}.get(sys.platform, "")
    machine = host.machine()
    for known in PLATFORMS.values():
        if known.os == system and known.machine == machine:
            return known
    return None
