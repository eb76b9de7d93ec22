"""What may move when a lock is made again: nothing, some packages, or everything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from envbuild.errors import LockError

__all__ = ["Upgrade", "explain_unknown"]

_NEAR: Final = 0.7
"""From this likeness on, one name may be meant by another; a Debian image has hundreds of names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upgrade:
    """Which pins of the previous lock to forget; by default each stays where the request allows.

    `everything` forgets them all. `base` forgets what the environment stands on, and nothing else:
    the digest of a registry's image, or the Debian packages of `debian:SUITE`. `packages` are names
    as the lock has them: those of conda, pip and Debian alike. What a moved package needs may have
    to move with it. `before` is an `exclude-newer` for this one lock, in place of the spec's: pins
    that are older stay where they are, and the lock still answers the spec as it is written.
    """

    everything: bool = False
    base: bool = False
    packages: frozenset[str] = frozenset()
    before: str | None = None


def explain_unknown(package: str, known: Iterable[str], where: str) -> LockError:
    """Return the error for a package to be upgraded that is none of `known`."""
    from difflib import get_close_matches

    near = get_close_matches(package, sorted(known), n=3, cutoff=_NEAR)
    return LockError(
        "lock.unknown-package",
        f"`{package}` is {where}, so it can't be upgraded",
        hint=f"did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else None,
    )
