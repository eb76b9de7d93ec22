"""What a rule is: a check across keys, and the places it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from envbuild.errors import Problem
from envbuild.spec.keys import KeyPath, overlaps, parse_key
from envbuild.spec.model import EnvSpec

__all__ = ["Rule", "rule"]

Check = Callable[[EnvSpec], Iterator[Problem]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One rule: the places it reads, and the check, whose docstring states the rule to users."""

    reads: tuple[KeyPath, ...]
    check: Check

    @property
    def doc(self) -> str:
        """The rule in a sentence."""
        return (self.check.__doc__ or "").strip()

    def reads_any(self, places: tuple[KeyPath, ...]) -> bool:
        """Say whether one of `places` is, holds or is in what the rule reads."""
        return any(overlaps(place, key) for place in places for key in self.reads)


def rule(*keys: str) -> Callable[[Check], Rule]:
    """Make a rule of the function below, which reads what is at the dotted `keys`."""
    reads = tuple(parse_key(key) for key in keys)
    return lambda check: Rule(reads=reads, check=check)
