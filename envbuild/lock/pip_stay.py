"""Stays with pins that uv leaves although another index has a file that fits.

Of a version to stay with, uv looks at the files of the first index that has it. Where none of them
is for the target, or has a time that `exclude-newer` asks for, it takes another version, or finds
no answer. Of what is only limited it looks at the files of all indexes. So pins that moved are
asked for once more, as limits.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from envbuild.kit.process import ToolExitError
from envbuild.lock.pip_job import PipJob, is_marked
from envbuild.lock.pip_uv import Listing, resolve_with_uv

if TYPE_CHECKING:
    from packaging.version import Version

__all__ = ["stay_with_uv"]


def stay_with_uv(job: PipJob) -> Listing:
    """Resolve the job's request for its target, staying with `job.kept` where that is possible.

    Raises `ToolExitError` if uv finds no answer.
    """
    pinned = _find_pinned(job)
    ceilings: dict[str, Version] = {}
    try:
        first = resolve_with_uv(job)
    except ToolExitError as error:
        ceilings = _find_blamed(pinned, error.output)
        answer = _try(job, ceilings) if ceilings and error.returncode >= 0 else None
        if answer is None:
            raise
        error.log.unlink(missing_ok=True)
        first = answer
    moved = {name: old for name, old in pinned.items() if _leaves(first, name, old)}
    lowered = {name: old for name, old in moved.items() if _order(first.versions[name]) < old}
    # A new version may be forced, and is then no reason to leave those alone that went back.
    for wanted in (moved, lowered) if moved != lowered else (lowered,):
        if wanted.keys() <= ceilings.keys():
            break
        again = _try(job, ceilings | wanted)
        if again is not None and _is_closer(again, first, wanted):
            return again
    return first


def _find_pinned(job: PipJob) -> dict[str, Version]:
    """Return the versions to stay with that can be limits: not those of stubs and prereleases.

    To limit by a prerelease would let other prereleases in.
    """
    from packaging.version import InvalidVersion

    found: dict[str, Version] = {}
    for pin in job.kept:
        with contextlib.suppress(InvalidVersion):  # whoever edited the file by hand
            version = _order(pin.version)
            if not is_marked(pin.version) and not version.is_prerelease:
                found[pin.name] = version
    return found


def _order(version: str) -> Version:
    from packaging.version import Version

    return Version(version)


def _find_blamed(pinned: Mapping[str, Version], output: str) -> dict[str, Version]:
    """Return those pins of which uv says that there is nothing it could use."""
    said = " ".join(output.split())
    return {
        name: version
        for name, version in pinned.items()
        if re.search(rf"(?<![\w.-]){re.escape(f'{name}=={version}')} has no ", said)
    }


def _try(job: PipJob, ceilings: Mapping[str, Version]) -> Listing | None:
    try:
        return resolve_with_uv(job, ceilings)
    except ToolExitError as error:
        if error.returncode < 0:
            raise
        error.log.unlink(missing_ok=True)
        return None


def _leaves(listing: Listing, name: str, old: Version) -> bool:
    return name in listing.versions and _order(listing.versions[name]) != old


def _is_closer(again: Listing, first: Listing, ceilings: Mapping[str, Version]) -> bool:
    """Tell whether `again` moves those of `ceilings` no further, and takes nothing else back."""
    for name in again.versions.keys() & first.versions.keys():
        version, before = _order(again.versions[name]), _order(first.versions[name])
        pinned = ceilings.get(name, version)
        if not min(before, pinned) <= version <= pinned:
            return False
    return True
