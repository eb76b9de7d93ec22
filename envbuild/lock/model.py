"""What a lock holds: exact, hashed artifacts per platform, and what they were made from.

All SHA-256 values of artifacts are 64 hex digits without a prefix, as the tools of each format
print them; every digest (of a request, a file, an image) is `sha256:<64 hex digits>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = [
    "LOCK_VERSION",
    "Artifact",
    "BaseImage",
    "CondaPackage",
    "DebianPackage",
    "Lock",
    "PlatformLock",
    "Wheel",
]

LOCK_VERSION: Final = 2
"""Format of `envbuild.lock`; a file of another version is refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaPackage:
    """A conda package: one `.conda` or `.tar.bz2` archive at `url` (credentials as `${VAR}`).

    `size` is the archive's, in bytes, and never 0: it decides which packages share a layer.
    """

    name: str
    version: str
    build: str
    url: str
    sha256: str
    size: int

    @property
    def filename(self) -> str:
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wheel:
    """A wheel. It has no URL: any index that offers this file with this hash will do."""

    name: str
    version: str
    filename: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DebianPackage:
    """A Debian package: `path` is its place below an archive's root (`pool/main/...`)."""

    name: str
    version: str
    architecture: str
    path: str
    sha256: str
    size: int

    @property
    def filename(self) -> str:
        return self.path.rsplit("/", 1)[-1]


Artifact = CondaPackage | Wheel | DebianPackage


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseImage:
    """A registry image: the reference as the spec has it, and this platform's manifest digest."""

    reference: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformLock:
    """Everything that goes into the environment on one platform (conda's subdir)."""

    platform: str
    python: str
    """Full version where conda or Debian brings Python, else `MAJOR.MINOR`."""
    glibc: str
    """Version of glibc that wheels were chosen for; empty off Linux."""
    base: BaseImage | None = None
    """None: assembled from Debian packages, or `scratch`."""
    conda: tuple[CondaPackage, ...] = ()
    wheels: tuple[Wheel, ...] = ()
    debian: tuple[DebianPackage, ...] = ()

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        return (*self.debian, *self.conda, *self.wheels)

    @property
    def python_minor(self) -> str:
        """`MAJOR.MINOR`, which names the folder of site-packages."""
        return ".".join(self.python.split(".")[:2])


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """The lock of one environment: `lockfiles/NAME/envbuild.lock`.

    `request` maps each section of the request (`platforms`, `python`, `conda`, `pip`, `system`,
    `base`) to its digest, so that a stale lock can say which section moved; `files` maps the
    sibling lockfiles (`conda-lock.yml`, `requirements.PLATFORM.txt`) to their digests; `tools` maps
    each tool that resolved to its version. Neither tools nor files are part of an image's identity.
    """

    request: Mapping[str, str]
    platforms: Mapping[str, PlatformLock]
    files: Mapping[str, str]
    tools: Mapping[str, str]
