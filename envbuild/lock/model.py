"""What a lock holds: exact, hashed artifacts per platform, and what they were made from.

All SHA-256 values of artifacts are 64 hex digits without a prefix, as the tools of each format
print them; every digest (of a request, a file, an image) is `sha256:<64 hex digits>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

__all__ = [
    "LOCK_VERSION",
    "Artifact",
    "BaseFacts",
    "BaseImage",
    "CondaPackage",
    "DebianPackage",
    "LocalTree",
    "Lock",
    "PlatformLock",
    "Source",
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
class Source:
    """Where a wheel comes from that no index has; `wheel` is its SHA-256.

    `file`: a wheel of the repository, at `place`. `sdist`: built from the source distribution
    `place`, whose SHA-256 is `pin`. `git`: built from the commit `pin` of the repository at the URL
    `place` (without credentials), where `reference` asked for it, in the folder `subdirectory`.
    `requires` are the file names of the wheels that it was built with, in order and separated by
    spaces; they are in `PlatformLock.build`.
    """

    wheel: str
    kind: Literal["file", "git", "sdist"]
    place: str
    pin: str = ""
    reference: str = ""
    subdirectory: str = ""
    requires: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalTree:
    """A source tree of the repository at `path`, of which only its dependencies are locked.

    `needs` is the digest of what its METADATA asks of others, `config` that of what its build
    files say of that; `requires` are the wheels that it is built with, as in `Source`.
    """

    name: str
    path: str
    needs: str
    config: str
    requires: str


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
class BaseFacts:
    """What a base image offers; what is not certain is empty.

    `system` is such as `debian 12`; `libc` is `glibc` or `musl`; `shell` says whether there is a
    `/bin/sh`. `pythons` are pairs of path and version, sorted by path: the full version, or only
    `MAJOR.MINOR`, or "".
    """

    system: str = ""
    libc: str = ""
    libc_version: str = ""
    shell: bool = False
    pythons: tuple[tuple[str, str], ...] = ()

    def find_python(self, path: str) -> str | None:
        """Return what is known of the version of the Python at `path`; None if there is none."""
        return dict(self.pythons).get(path)


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseImage:
    """A registry image: the reference as the spec has it, and this platform's manifest digest.

    `facts` are there so that nothing has to be asked of the base's bytes after locking.
    """

    reference: str
    digest: str
    facts: BaseFacts


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformLock:
    """Everything that goes into the environment on one platform (conda's subdir)."""

    platform: str
    python: str
    """Full version where conda, Debian or a base of which that is certain brings Python, else
    `MAJOR.MINOR`."""
    glibc: str
    """Version of glibc that wheels were chosen for; empty off Linux."""
    base: BaseImage | None = None
    """None: assembled from Debian packages, or `scratch`."""
    conda: tuple[CondaPackage, ...] = ()
    wheels: tuple[Wheel, ...] = ()
    debian: tuple[DebianPackage, ...] = ()
    sources: tuple[Source, ...] = ()
    """One for each of `wheels` that doesn't come from an index."""
    trees: tuple[LocalTree, ...] = ()
    build: tuple[Wheel, ...] = ()
    """What `sources` and `trees` are built with, on the machine that builds; not in the image."""

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
