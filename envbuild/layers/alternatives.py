"""Does what update-alternatives(1) would have done, from the scripts' text: the highest priority
wins, and the tool finds its own records, so that a person can go on with it in the image.

Formats and rules: dpkg's `utils/update-alternatives.c` (links, `/etc/alternatives`, and the files
in `/var/lib/dpkg/alternatives`). Alternatives whose file isn't in the image are left out, as are
links in whose place a package has a file. No log is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from envbuild.layers.archive import body_of_bytes
from envbuild.layers.deb import merge_path
from envbuild.layers.debscript import is_fixed, read_commands
from envbuild.layers.debtree import Tree
from envbuild.layers.entry import Entry

__all__ = ["Alternative", "find_alternatives", "plan_alternatives", "render_group"]

_TOOL: Final = "update-alternatives"
_LINKS: Final = "etc/alternatives"
_RECORDS: Final = "var/lib/dpkg/alternatives"
_SLAVES: Final = frozenset({"--slave", "--follower"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Alternative:
    """One `--install LINK NAME PATH PRIORITY`; `slaves` maps names to link and path."""

    link: str
    name: str
    path: str
    priority: int
    slaves: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def find_alternatives(script: str) -> tuple[Alternative, ...]:
    """Return what a maintainer script registers, as far as its text says it in fixed words."""
    found = (_parse(words) for words in read_commands(script) if words[0].endswith(_TOOL))
    return tuple(alternative for alternative in found if alternative is not None)


def _parse(words: Sequence[str]) -> Alternative | None:
    if "--install" not in words:
        return None
    start = words.index("--install") + 1
    slaves: dict[str, tuple[str, str]] = {}
    for place in range(start, len(words)):
        one = words[place + 1 : place + 4]
        if words[place] in _SLAVES and len(one) == 3 and is_fixed(one):
            slaves[one[1]] = (one[0], one[2])
    master = words[start : start + 4]
    if len(master) < 4 or not is_fixed(master) or not master[3].lstrip("-").isdecimal():
        return None
    link, name, path, priority = master
    return Alternative(link=link, name=name, path=path, priority=int(priority), slaves=slaves)


def plan_alternatives(tree: Tree, alternatives: Iterable[Alternative]) -> tuple[Entry, ...]:
    """Return links and records for `alternatives`, of which each name has one group."""
    groups: dict[str, dict[str, Alternative]] = {}
    for alternative in alternatives:
        if tree.find_file(alternative.path) is not None:
            groups.setdefault(alternative.name, {})[alternative.path] = alternative
    entries: dict[str, Entry] = {}
    for name, group in sorted(groups.items()):
        choices = [choice for _, choice in sorted(group.items())]
        record = render_group(choices)
        entries[f"{_RECORDS}/{name}"] = Entry(
            path=f"{_RECORDS}/{name}", kind="file", size=len(record), body=body_of_bytes(record)
        )
        for link, middle, path in _find_links(tree, _choose(choices)):
            there = tree.look(link)
            at = merge_path(link.lstrip("/"))
            if there is None or there.kind == "symlink":
                entries[at] = _link(at, f"/{_LINKS}/{middle}")
            entries[f"{_LINKS}/{middle}"] = _link(f"{_LINKS}/{middle}", path)
    return tuple(entry for _, entry in sorted(entries.items()))


def _choose(choices: Sequence[Alternative]) -> Alternative:
    """Return the one of highest priority, of equals the first by path."""
    return max(choices, key=lambda choice: choice.priority)


def _find_links(tree: Tree, best: Alternative) -> Iterator[tuple[str, str, str]]:
    """Yield link, name and path of a choice and of its slaves that are there."""
    for name, (link, path) in {best.name: (best.link, best.path), **best.slaves}.items():
        if tree.find_file(path) is not None:
            yield link, name, path


def _link(path: str, target: str) -> Entry:
    return Entry(path=path, kind="symlink", mode=0o777, link=target)


def render_group(choices: Sequence[Alternative]) -> bytes:
    """Return the record of one group; `choices` are sorted by path."""
    slaves = {name: link for choice in choices for name, (link, _) in choice.slaves.items()}
    lines = ["auto", choices[-1].link]
    for name, link in sorted(slaves.items()):
        lines += [name, link]
    lines.append("")
    for choice in choices:
        lines += [choice.path, str(choice.priority)]
        lines += [
            choice.slaves[name][1] if name in choice.slaves else "" for name in sorted(slaves)
        ]
    return ("\n".join([*lines, "", ""])).encode(errors="surrogateescape")
