"""Where envbuild keeps things: the machine's cache and the repository's own folders."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cache", "Repository", "find_cache"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cache:
    """The machine's cache: safe to delete, safe for use by several processes at once."""

    root: Path

    @property
    def packages(self) -> Path:
        """Downloaded artifacts, `packages/<sha256 hex>/<file name>`."""
        return self.root / "packages"

    def package(self, sha256: str, filename: str) -> Path:
        """Return the place of an artifact's file; what is there got there whole and checked."""
        return self.packages / sha256 / filename

    def find_package(self, sha256: str, filename: str, size: int) -> Path | None:
        """Return an artifact's file if it is there with `size` bytes.

        What befell it there since is found by the checksums of its members.
        """
        file = self.package(sha256, filename)
        try:
            return file if file.stat().st_size == size else None
        except (FileNotFoundError, NotADirectoryError):
            return None

    @property
    def layers(self) -> Path:
        """The layer index: `layers/<key hex>.json` says which blob a layer became."""
        return self.root / "layers"

    @property
    def bytecode(self) -> Path:
        """Byte code of artifacts, compiled once and kept."""
        return self.root / "bytecode"

    @property
    def interpreters(self) -> Path:
        """Locked Pythons, unpacked to compile with, and what is known of installed ones."""
        return self.root / "interpreters"

    @property
    def listings(self) -> Path:
        """What the packages of layers bring, by the layers' keys."""
        return self.root / "listings"

    @property
    def origins(self) -> Path:
        """In which repositories of registries a blob is known to be."""
        return self.root / "origins"

    @property
    def store(self) -> Path:
        """The OCI layout that holds blobs and finished images."""
        return self.root / "store"

    @property
    def indexes(self) -> Path:
        """Verified Debian archive indexes."""
        return self.root / "indexes"

    @property
    def locks(self) -> Path:
        """Parsed locks, by the digest of their bytes."""
        return self.root / "locks"

    @property
    def prefixes(self) -> Path:
        """Environments unpacked to run on this machine, `envs/<digest>/`.

        Here and not in the repository, because a prefix is written into files, some of which have
        little room for it, and the path of a repository may be long.
        """
        return self.root / "envs"

    @property
    def local(self) -> Path:
        """Environments that people work in, `local/<repository and name>/<generation>/`."""
        return self.root / "local"

    @property
    def logs(self) -> Path:
        """Whole output of child processes that failed."""
        return self.root / "logs"


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """A repository that uses envbuild, by its root: the folder that holds `noxfile.py`."""

    root: Path

    def spec_file(self, name: str) -> Path:
        return self.root / "envs" / f"{name}.toml"

    def lock_folder(self, name: str) -> Path:
        return self.root / "lockfiles" / name

    def edit_file(self, name: str) -> Path:
        """What `add` has made in a spec that wasn't there before, `.envbuild/edits/<name>.json`."""
        return self.root / ".envbuild" / "edits" / f"{name}.json"

    @property
    def runs(self) -> Path:
        """Records of training runs, `.envbuild/runs/<id>/`."""
        return self.root / ".envbuild" / "runs"

    @property
    def envs(self) -> Path:
        """Links to environments on this machine, `.envbuild/envs/<name>`."""
        return self.root / ".envbuild" / "envs"

    @property
    def failed(self) -> Path:
        """What failed builds had finished, `.envbuild/failed/<name>/<platform>/`."""
        return self.root / ".envbuild" / "failed"

    @property
    def smokes(self) -> Path:
        """Reports of smoke tests, `.envbuild/smoke/<name>.json`."""
        return self.root / ".envbuild" / "smoke"


def find_cache() -> Cache:
    """Return the cache that `ENVBUILD_CACHE` names, else the one in the user's cache folder."""
    named = os.environ.get("ENVBUILD_CACHE")
    if named:
        return Cache(root=Path(named).expanduser().resolve())
    base = os.environ.get("XDG_CACHE_HOME")
    return Cache(root=(Path(base) if base else Path.home() / ".cache") / "envbuild")
