"""Debian's versions and package relations: how they are ordered, read and satisfied.

The rules are those of the Debian Policy Manual, sections 5.6.12 (order of versions) and 7.1
(syntax of relations), and of deb-version(7).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Relation", "VersionKey", "parse_provides", "parse_relations", "version_key"]

VersionKey = tuple[int, tuple[object, ...], tuple[object, ...]]
"""Sorts as the version it was made from: epoch, upstream version, Debian revision."""

_PARTS: Final = re.compile(r"([^0-9]*)([0-9]*)")
_RELATION: Final = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9+.-]*)(?::(?P<qualifier>[a-z0-9-]+))?"
    r"(?:\s*\(\s*(?P<operator><<|<=|=|>=|>>|<|>)\s*(?P<version>[A-Za-z0-9][^\s)]*)\s*\))?"
)


@functools.lru_cache(maxsize=4096)
def version_key(version: str) -> VersionKey:
    """Return the sort key of a Debian version (`[epoch:]upstream[-revision]`)."""
    head, colon, rest = version.partition(":")
    epoch, rest = (int(head), rest) if colon and head.isdecimal() else (0, version)
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return epoch, _part_key(upstream), _part_key(revision)


def _part_key(text: str) -> tuple[object, ...]:
    # A part that is absent counts as zero. The empty pair that the pattern finds at the end of
    # the text stands for "nothing more", which sorts after `~` and before all else.
    key: list[object] = []
    for letters, digits in _PARTS.findall(text or "0"):
        key.append((*map(_letter_order, letters), 0))
        key.append(int(digits or 0))
    return tuple(key)


def _letter_order(letter: str) -> int:
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """One alternative of a dependency: a package's name and which of its versions will do.

    `operator` is one of `<<`, `<=`, `=`, `>=`, `>>`, or empty where any version will do.
    """

    name: str
    qualifier: str = ""
    operator: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.operator} {self.version})" if self.operator else self.name

    def admits(self, version: str) -> bool:
        """Return whether a package of this name in `version` satisfies the relation."""
        if not self.operator:
            return True
        ours, wanted = version_key(version), version_key(self.version)
        return {
            "<<": ours < wanted,
            "<=": ours <= wanted,
            "=": ours == wanted,
            ">=": ours >= wanted,
            ">>": ours > wanted,
        }[self.operator]

    def admits_provided(self, version: str) -> bool:
        """Return whether a package that provides this name, as `version` or "", satisfies it."""
        return self.admits(version) if version else not self.operator


def parse_relations(text: str) -> tuple[tuple[Relation, ...], ...]:
    """Return the groups of a field such as `Depends`: all are needed, one alternative of each.

    Raises `ValueError` with the part that is no relation.
    """
    groups = (part.strip() for part in text.split(","))
    return tuple(
        tuple(_parse_relation(alternative.strip()) for alternative in group.split("|"))
        for group in groups
        if group
    )


def _parse_relation(text: str) -> Relation:
    match = _RELATION.fullmatch(text)
    if match is None:
        raise ValueError(text)
    # Policy 7.1: the obsolete `<` and `>` mean `<=` and `>=`.
    operator = {"<": "<=", ">": ">="}.get(match["operator"] or "", match["operator"] or "")
    return Relation(
        name=match["name"],
        qualifier=match["qualifier"] or "",
        operator=operator,
        version=match["version"] or "",
    )


def parse_provides(text: str) -> dict[str, str]:
    """Return what a `Provides` field provides: name to version, "" where it gives none."""
    return {group[0].name: group[0].version for group in parse_relations(text)}
