"""Tells whether a lock still is what its spec asks for, without solving anything."""

from __future__ import annotations

from dataclasses import dataclass

from envbuild.errors import LockError
from envbuild.lock.model import Lock
from envbuild.lock.request import SECTIONS, digest_request
from envbuild.spec.model import EnvSpec

__all__ = ["Staleness", "check_fresh", "find_staleness"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Staleness:
    """Why a lock is stale: the sections of the spec that moved, and platforms it has no part for.

    `sections` are some of `SECTIONS`, in their order; a platform is missing only where a lock
    was put together by something else than `nox -s lock`.
    """

    sections: tuple[str, ...]
    missing: tuple[str, ...] = ()


def find_staleness(spec: EnvSpec, lock: Lock) -> Staleness | None:
    """Return why `lock` is stale for `spec`, or None where it is up to date."""
    wanted = digest_request(spec)
    sections = tuple(s for s in SECTIONS if lock.request.get(s) != wanted[s])
    missing = tuple(sorted(set(spec.platforms) - set(lock.platforms)))
    return Staleness(sections=sections, missing=missing) if sections or missing else None


def check_fresh(spec: EnvSpec, lock: Lock, *, name: str) -> None:
    """Raise `LockError` `lock.stale` if `lock` isn't what the spec of `name` asks for."""
    found = find_staleness(spec, lock)
    if found is None:
        return
    if found.sections:
        message = (
            f"`lockfiles/{name}` was made from another version of `envs/{name}.toml` "
            f"({_join(found.sections)} changed)"
        )
    else:
        message = f"`lockfiles/{name}` has no part for {_join(found.missing)}"
    raise LockError(
        "lock.stale", message, hint=f"to update the lockfile, run `nox -s lock -- {name}`"
    )


def _join(names: tuple[str, ...]) -> str:
    quoted = [f"`{_KEYS.get(name, name)}`" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


_KEYS = {"base": "image.base"}
"""What a section is called in the spec, where that is something else."""
