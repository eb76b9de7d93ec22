"""Chooses, of a version's wheels, the one that pip would install on the target machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from envbuild.errors import LockError
from envbuild.spec.platforms import Platform

if TYPE_CHECKING:
    from packaging.tags import Tag

__all__ = ["MACOS", "WheelFile", "choose_wheel", "parse_glibc", "rank_tags"]

MACOS: Final = "13.0"
"""The macOS that wheels are chosen for unless the spec names one. It is uv's own default; with
11.0, the first for both machines, common packages such as scikit-learn have no wheel any more."""

# PEP 600, "legacy manylinux tags"; none is older than the glibc 2.17 of the first aarch64 tag.
_LEGACY: Final = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_OLDEST: Final = {"x86_64": 5, "aarch64": 17}


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelFile:
    """A wheel that an index offers: where, with which hash, of `size` bytes (0: not said)."""

    name: str
    version: str
    filename: str
    url: str
    sha256: str
    size: int


def choose_wheel(
    files: Iterable[WheelFile], ranks: dict[Tag, int], *, locked: Iterable[str] = ()
) -> WheelFile | None:
    """Return the best of `files` for the machine of `ranks`, or None if none fits.

    A file whose hash is `locked` stays, though a better one may have been added since. Otherwise
    the most specific tag wins, then the highest build number, as in pip; equals by file name.
    """
    fitting = [(order, file) for file in files if (order := _order(file, ranks)) is not None]
    kept = set(locked)
    chosen = [item for item in fitting if item[1].sha256 in kept] or fitting
    return min(chosen, default=(None, None), key=lambda item: (item[0], item[1].filename))[1]


def _order(file: WheelFile, ranks: dict[Tag, int]) -> tuple[int, tuple[int, str]] | None:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        _, _, build, tags = parse_wheel_filename(file.filename)
    except InvalidWheelFilename:
        return None
    rank = min((ranks[tag] for tag in tags if tag in ranks), default=None)
    if rank is None:
        return None
    return rank, ((-build[0], build[1]) if build else (0, ""))


@lru_cache(maxsize=32)
def rank_tags(platform: Platform, minor: str, glibc: str, macos: str) -> dict[Tag, int]:
    """Return the target's wheel tags with their rank, 0 for the best.

    `minor` is `MAJOR.MINOR` of a CPython; `glibc` counts on Linux, `macos` on macOS.
    """
    from packaging.tags import compatible_tags, cpython_tags

    major, number = map(int, minor.split("."))
    version, interpreter = (major, number), f"cp{major}{number}"
    platforms = list(_platform_tags(platform, glibc, macos))
    # The ABI is named, for `packaging` would ask the interpreter that runs this.
    tags = [
        *cpython_tags(version, abis=[interpreter], platforms=platforms),
        *compatible_tags(version, interpreter=interpreter, platforms=platforms),
    ]
    ranks: dict[Tag, int] = {}
    for rank, tag in enumerate(tags):
        ranks.setdefault(tag, rank)
    return ranks


def _platform_tags(platform: Platform, glibc: str, macos: str) -> Iterator[str]:
    from packaging.tags import mac_platforms

    if platform.os == "windows":
        yield "win_amd64"
    elif platform.os == "darwin":
        major, _, rest = macos.partition(".")
        yield from mac_platforms((int(major), int(rest.split(".")[0] or 0)), platform.machine)
    else:
        yield from _linux_tags(platform.machine, parse_glibc(glibc))


def parse_glibc(text: str) -> int:
    """Return N of a glibc `2.N`, with or without a patch release; raises `LockError`."""
    found = re.fullmatch(r"2\.(\d+)(?:\.\d+)*", text)
    if found is None:
        raise LockError(
            "lock.glibc",
            f"`{text}` is no version of glibc that wheels are made for",
            hint='write it as `glibc = "2.36"` in `[conda.virtual-packages]`',
        )
    return int(found[1])


def _linux_tags(machine: str, newest: int) -> Iterator[str]:
    """Yield the machine's own tag, then those for glibc 2.`newest` and older (PEP 600)."""
    yield f"linux_{machine}"
    for minor in range(newest, _OLDEST[machine] - 1, -1):
        yield f"manylinux_2_{minor}_{machine}"
        if minor in _LEGACY:
            yield f"{_LEGACY[minor]}_{machine}"
