"""Remembers in which repositories of registries a blob is known to be.

So an image can be planned, and pushed to the registry that has its layers, without their bytes
being on this machine. It is knowledge of yesterday: who finds a blob gone says so with `forget`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from envbuild.kit.files import write_atomic

__all__ = ["Origins"]


@dataclass(frozen=True, slots=True)
class Origins:
    """One small file per blob below `root`, a repository (`host/path`) per line."""

    root: Path

    def find(self, digest: str) -> tuple[str, ...]:
        """Return the repositories that had the blob, the one heard of last first."""
        try:
            return tuple(self._path(digest).read_text(encoding="utf-8").split())
        except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
            return ()

    def remember(self, digest: str, repository: str) -> None:
        """Note that `repository` (`host/path`) has the blob."""
        known = self.find(digest)
        if known[:1] != (repository,):
            self._write(digest, (repository, *(name for name in known if name != repository)))

    def forget(self, digest: str, repository: str) -> None:
        """Note that `repository` doesn't have the blob any more."""
        left = tuple(name for name in self.find(digest) if name != repository)
        if left:
            self._write(digest, left)
        else:
            with contextlib.suppress(FileNotFoundError):
                self._path(digest).unlink()

    def _path(self, digest: str) -> Path:
        return self.root / digest.removeprefix("sha256:")

    def _write(self, digest: str, repositories: tuple[str, ...]) -> None:
        # Two writers at once may lose one line: it is found out again when it is needed.
        write_atomic(self._path(digest), "\n".join(repositories) + "\n")
