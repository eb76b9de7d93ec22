"""Tells whether a lock still is what its spec asks for, without solving anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from envbuild.errors import LockError
from envbuild.lock.base_rules import check_bases, is_python_known
from envbuild.lock.model import Lock
from envbuild.lock.request import SECTIONS, digest_request
from envbuild.lock.source_fresh import find_moved
from envbuild.spec.model import EnvSpec

__all__ = ["Staleness", "check_fresh", "check_not_stale", "find_staleness"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Staleness:
    """Why a lock is stale: the sections of the spec that moved, and platforms it has no part for.

    `sections` are some of `SECTIONS`, in their order; a platform is missing only where a lock
    was put together by something else than `nox -s lock`. `moved` are wheels and source trees of
    the repository that are not what was locked any more.
    """

    sections: tuple[str, ...]
    missing: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()


def find_staleness(spec: EnvSpec, lock: Lock, *, root: Path | None = None) -> Staleness | None:
    """Return why `lock` is stale for `spec`, or None where it is up to date.

    `root` is the repository; without it, what the lock has of its files is not looked at.
    `interpreter` is among the sections where the spec names a Python of the base that nobody
    looked at when it was locked.
    """
    wanted = digest_request(spec)
    sections = tuple(s for s in SECTIONS if lock.request.get(s) != wanted.get(s))
    if not all(is_python_known(spec, part) for part in lock.platforms.values()):
        sections = (*sections, "interpreter")
    missing = tuple(sorted(set(spec.platforms) - set(lock.platforms)))
    moved = find_moved(lock, root) if root is not None else ()
    if not (sections or missing or moved):
        return None
    return Staleness(sections=sections, missing=missing, moved=moved)


def check_fresh(spec: EnvSpec, lock: Lock, *, name: str, root: Path | None = None) -> None:
    """Refuse a lock that isn't what the spec of `name` asks for, or doesn't fit its base.

    Raises `LockError`: `lock.stale`, and what `check_base` raises.
    """
    check_not_stale(spec, lock, name=name, root=root)
    check_bases(spec, lock)


def check_not_stale(spec: EnvSpec, lock: Lock, *, name: str, root: Path | None = None) -> None:
    """Raise `LockError` `lock.stale` if `lock` isn't what the spec of `name` asks for."""
    found = find_staleness(spec, lock, root=root)
    if found is None:
        return
    if found.sections:
        message = (
            f"`lockfiles/{name}` was made from another version of `envs/{name}.toml` "
            f"({_join(found.sections)} changed)"
        )
    elif found.moved:
        message = (
            f"`lockfiles/{name}` was made with other contents of {_join(found.moved)} "
            "than the repository has now"
        )
    else:
        message = f"`lockfiles/{name}` has no part for {_join(found.missing)}"
    raise LockError(
        "lock.stale", message, hint=f"to update the lockfile, run `nox -s lock -- {name}`"
    )


def _join(names: tuple[str, ...]) -> str:
    quoted = [f"`{_KEYS.get(name, name)}`" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


_KEYS = {"base": "image.base", "interpreter": "image.interpreter"}
"""What a section is called in the spec, where that is something else."""
