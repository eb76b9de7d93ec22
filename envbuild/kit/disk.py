"""A full disk is a user's problem with a path, not a traceback."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envbuild.errors import EnvbuildError

__all__ = ["disk_errors"]

_REFUSALS: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
)


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
        if error.errno in _REFUSALS:
            raise EnvbuildError(
                "disk.refused",
                f"`{path}` can't be written: {(error.strerror or 'refused').lower()}",
                hint="check its owner and permissions, "
                "or name another folder with `export ENVBUILD_CACHE=...`",
            ) from error
        raise
