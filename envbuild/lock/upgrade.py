"""What may move when a lock is made again: nothing, some packages, or everything."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Upgrade"]


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
