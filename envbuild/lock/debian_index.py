"""The packages that verified `Packages` files list, found without parsing the whole of them.

A suite's index is some 50 MB with 60 000 stanzas, of which a lock needs a hundred: the file is
mapped, scanned once for names, and only the stanzas that are asked for are parsed.
"""

from __future__ import annotations

import functools
import mmap
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuild.lock.debian_relations import (
    Relation,
    parse_provides,
    parse_relations,
    version_key,
)
from envbuild.lock.model import DebianPackage

__all__ = ["Candidate", "PackageIndex", "load_index", "parse_stanza"]

_PRIORITIES: Final = {"required": 0, "important": 1, "standard": 2, "optional": 3}
# A pattern that starts with a fixed text is six times as quick as one with `^` and MULTILINE.
_PACKAGE: Final = re.compile(rb"\nPackage: ([^\n]+)")
_PROVIDES: Final = re.compile(rb"\nProvides: ([^\n]+)")
_FIRST: Final = re.compile(rb"Package: ([^\n]+)")
_NAME: Final = re.compile(rb"(?:^|,)\s*([a-z0-9][a-z0-9+.-]*)")


def parse_stanza(text: str) -> dict[str, str]:
    """Return the fields of one stanza of deb822 text; continuation lines keep their line break."""
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line[:1] in {" ", "\t"}:
            fields[name] = fields.get(name, "") + "\n" + line.strip()
        elif line and not line.startswith("#"):
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One package as an index describes it; of several, the one of lowest `rank` is preferred."""

    package: DebianPackage
    needs: tuple[tuple[Relation, ...], ...]
    """`Pre-Depends`, then `Depends`."""
    refuses: tuple[Relation, ...]
    """`Conflicts` and `Breaks`."""
    provides: Mapping[str, str]
    rank: int

    @property
    def name(self) -> str:
        return self.package.name

    @property
    def version(self) -> str:
        return self.package.version

    def satisfies(self, relation: Relation) -> bool:
        """Return whether this package, by its own name or by one it provides, will do."""
        if relation.qualifier not in {"", "any", "native", self.package.architecture}:
            return False
        if relation.name == self.name:
            return relation.admits(self.version)
        provided = self.provides.get(relation.name)
        return provided is not None and relation.admits_provided(provided)


def _parse_candidate(text: str) -> Candidate:
    fields = parse_stanza(text)
    needs = [parse_relations(fields.get(key, "")) for key in ("Pre-Depends", "Depends")]
    refusals = [parse_relations(fields.get(key, "")) for key in ("Conflicts", "Breaks")]
    return Candidate(
        package=DebianPackage(
            name=fields["Package"],
            version=fields["Version"],
            architecture=fields["Architecture"],
            path=fields["Filename"],
            sha256=fields["SHA256"].lower(),
            size=int(fields["Size"]),
        ),
        needs=(*needs[0], *needs[1]),
        refuses=tuple(group[0] for groups in refusals for group in groups),
        provides=parse_provides(fields.get("Provides", "")),
        rank=_PRIORITIES.get(fields.get("Priority", "optional"), 4),
    )


class PackageIndex:
    """What several `Packages` files offer together; the highest version of a name wins."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Map and scan `files`, UTF-8 deb822 text without compression."""
        self._maps = [_map(file) for file in files]
        self._places: dict[str, list[tuple[int, int]]] = {}
        self._providers: dict[str, list[tuple[int, int]]] = {}
        self._parsed: dict[tuple[int, int], Candidate] = {}
        for number, data in enumerate(self._maps):
            self._scan(number, data)

    def _scan(self, number: int, data: mmap.mmap | bytes) -> None:
        first = _FIRST.match(data)
        if first:
            self._places.setdefault(first[1].decode(), []).append((number, 0))
        for match in _PACKAGE.finditer(data):
            self._places.setdefault(match[1].decode(), []).append((number, match.start() + 1))
        for match in _PROVIDES.finditer(data):
            start = data.rfind(b"\n\n", 0, match.start() + 1)
            place = (number, start + 2 if start >= 0 else 0)
            for name in _NAME.findall(match[1]):
                self._providers.setdefault(name.decode(), []).append(place)

    def names(self) -> Iterable[str]:
        """Return the names of all packages, in no order; names that are only provided excepted."""
        return self._places.keys()

    def find(self, name: str) -> Candidate | None:
        """Return the highest version of package `name`; None if there is none."""
        found = [self._parse(place) for place in self._places.get(name, ())]
        return max(found, key=lambda c: version_key(c.version), default=None)

    def find_providers(self, name: str) -> tuple[Candidate, ...]:
        """Return the packages that provide `name`, each in its highest version, best one first."""
        offers = {self._parse(place).name for place in self._providers.get(name, ())}
        highest = (self.find(offer) for offer in offers)
        # A newer version may have stopped providing it.
        found = [c for c in highest if c is not None and name in c.provides]
        return tuple(sorted(found, key=lambda c: (c.rank, c.name)))

    def _parse(self, place: tuple[int, int]) -> Candidate:
        known = self._parsed.get(place)
        if known is None:
            number, start = place
            data = self._maps[number]
            end = data.find(b"\n\n", start)
            raw = data[start : end if end >= 0 else len(data)]
            known = self._parsed[place] = _parse_candidate(raw.decode())
        return known


def _map(file: Path) -> mmap.mmap | bytes:
    with file.open("rb") as stream:
        # An empty file can't be mapped, and an archive may well have an empty component.
        if file.stat().st_size == 0:
            return b""
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


@functools.lru_cache(maxsize=4)
def load_index(files: tuple[Path, ...]) -> PackageIndex:
    """Return the index of `files`, kept for this process: their names say what they hold."""
    return PackageIndex(files)
