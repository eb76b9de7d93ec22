"""Tells whether a wheel that was built here serves the machine that is locked for."""

from __future__ import annotations

from typing import Final

from envbuild.errors import LockError
from envbuild.lock.build_wheel import find_needed_glibc
from envbuild.lock.built import Built
from envbuild.lock.wheel_choice import MACOS, parse_glibc, rank_tags
from envbuild.spec.platforms import PLATFORMS

__all__ = ["check_fit", "fits"]

_PURE: Final = "-none-any.whl"


def fits(filename: str, *, subdir: str, minor: str, glibc: str, macos: str = MACOS) -> int | None:
    """Return the rank of a wheel's best tag for a machine (0: the best), or None if none fits."""
    from packaging.utils import parse_wheel_filename

    ranks = rank_tags(PLATFORMS[subdir], minor, glibc, macos)
    _, _, _, tags = parse_wheel_filename(filename)
    return min((ranks[tag] for tag in tags if tag in ranks), default=None)


def check_fit(
    built: Built, *, package: str, task: str, subdir: str, minor: str, glibc: str,
    macos: str = MACOS,
) -> None:  # fmt: skip
    """Refuse a wheel for another machine than `subdir`, or for a newer glibc than `glibc`.

    Raises `LockError`: `pip.source-foreign`, `pip.source-glibc`.
    """
    filename = built.contents.wheel.filename
    if fits(filename, subdir=subdir, minor=minor, glibc=glibc, macos=macos) is None:
        raise LockError(
            "pip.source-foreign",
            f"`{package}` was built from source into `{filename}`, which can't run on `{subdir}`",
            hint=f"lock `{task}` on such a machine, take a version with a wheel for it, take the "
            f"package from conda, or leave `{subdir}` out of `platforms`",
        )
    if not glibc or filename.endswith(_PURE):
        return
    needed = find_needed_glibc(built.path)
    if needed > parse_glibc(glibc):
        raise LockError(
            "pip.source-glibc",
            f"`{package}` was built on this machine for glibc 2.{needed}, and `{task}` is locked "
            f"for glibc {glibc} on `{subdir}`",
            hint="build on a machine with an older glibc, or, if the base image has a newer one, "
            "say so: `glibc` in `[conda.virtual-packages]`",
        )
