"""What may move when a lock is made again: nothing, some packages, or everything."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Upgrade"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Upgrade:
    """Which pins of the previous lock to forget; by default each stays where the request allows.

    `everything` forgets them all. `packages` are names as the lock has them: those of conda, pip
    and Debian alike. What a moved package needs may have to move with it.
    """

    everything: bool = False
    packages: frozenset[str] = frozenset()
