"""A full disk is a user's problem with a path, not a traceback."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from envbuild.errors import EnvbuildError

__all__ = ["disk_errors"]


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an error of writing `path` into `EnvbuildError`: `disk.full` or `disk.refused`."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise EnvbuildError(
                "disk.full",
                f"there is no space left to write `{path}`",
                hint="free some space, or name another folder with `export ENVBUILD_CACHE=...`",
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise EnvbuildError(
                "disk.refused",
                f"`{path}` may not be written",
                hint="check its owner and permissions, "
                "or name another folder with `export ENVBUILD_CACHE=...`",
            ) from error
        raise
