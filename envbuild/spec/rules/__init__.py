"""What no key can say alone: the rules between the keys of a spec.

A rule names the keys it reads, so that it is left out where one of them has a problem of its own:
a contradiction with a value that is about to change would only confuse.
"""

from __future__ import annotations

from typing import Final

from envbuild.errors import Problem
from envbuild.spec.keys import KeyPath
from envbuild.spec.model import EnvSpec
from envbuild.spec.rules import base, builds, packages, platform, running, sources
from envbuild.spec.rules.rule import Rule

__all__ = ["RULES", "Rule", "check_rules"]

RULES: Final[tuple[Rule, ...]] = (
    *base.RULES,
    *builds.RULES,
    *sources.RULES,
    *packages.RULES,
    *platform.RULES,
    *running.RULES,
)
"""All rules, in the order in which they are checked."""


def check_rules(spec: EnvSpec, *, doubtful: tuple[KeyPath, ...] = ()) -> list[Problem]:
    """Return what contradicts itself in `spec`, without the rules that read a doubtful place."""
    return [
        problem for rule in RULES if not rule.reads_any(doubtful) for problem in rule.check(spec)
    ]
