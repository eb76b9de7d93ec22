"""Whose file counts where packages bring the same path: the one that installers would leave there.

Both managers install what a package needs before the package, and else from the end of the
alphabet to its beginning; who comes later overwrites. pip does it by levels (packages that need
nothing, then those that need only these, and so on: `pip._internal.resolution.resolvelib`), conda's
py-rattler by following each package that nobody needs down to the bottom. Wheels come after conda
packages, and these after Debian's.

Within a layer that order is kept. Layers are stacked for other reasons (`layers.pack`); where that
leaves another file on top, `find_overruled` says so.
"""

from __future__ import annotations

import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from envbuild.errors import ImageError
from envbuild.layers.entry import Entry
from envbuild.layers.gzip import StreamError, inflate_whole
from envbuild.layers.order import Clash, Trace, find_clashes, list_entries
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage
from envbuild.lock.names import normalise_name

__all__ = [
    "Contents",
    "check_clashes",
    "describe_contents",
    "find_overruled",
    "order_contents",
    "order_groups",
    "parse_contents",
    "pick_entries",
    "render_contents",
    "summarise_clashes",
]

Manager = Literal["debian", "conda", "wheel"]
_MANAGERS: Final[tuple[Manager, ...]] = ("debian", "conda", "wheel")
_HEADER: Final = re.compile(r"[!-9;-~]*:|[\t ]|From ")
"""What a line among headers begins with, or one that goes on; they end before any other."""
_WISH: Final = re.compile(r"Requires-Dist:\s*([A-Za-z0-9][A-Za-z0-9._-]*)", re.IGNORECASE)
_LINES: Final = 5
"""Paths that a summary names; of more, the rest is counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What one artifact brings and needs, in as few bytes as that takes.

    `needs` are names of the same manager's packages, whether they are installed or not.
    """

    manager: Manager
    name: str
    needs: tuple[str, ...]
    traces: tuple[Trace, ...]

    @property
    def label(self) -> str:
        """Name it among all of an environment's artifacts."""
        return f"{self.name} ({self.manager})"


def describe_contents(artifact: Artifact, entries: Sequence[Entry]) -> Contents:
    """Return the contents of `artifact`, whose entries are those of its reader.

    Reads its papers, and what is not deflated for the checksums of `list_entries`.
    """
    return replace(_describe_needs(artifact, entries), traces=list_entries(entries))


def _describe_needs(artifact: Artifact, entries: Sequence[Entry]) -> Contents:
    manager: Manager = "wheel"
    needs: Iterator[str] = iter(())
    if isinstance(artifact, DebianPackage):
        manager = "debian"
    elif isinstance(artifact, CondaPackage):
        manager = "conda"
        needs = _list_conda_needs(entries)
    else:
        needs = _list_wheel_needs(entries)
    return Contents(
        manager=manager,
        name=artifact.name,
        needs=tuple(sorted(set(needs) - {artifact.name})),
        traces=(),
    )


def order_groups(
    artifacts: Sequence[Artifact], groups: Sequence[Sequence[Entry]]
) -> tuple[int, ...]:
    """Return the numbers of a layer's artifacts in the order of installation, by their entries.

    Debian packages stay as they are: dpkg lets no two of them bring one file.
    """
    if len(artifacts) < 2 or any(isinstance(artifact, DebianPackage) for artifact in artifacts):
        return tuple(range(len(artifacts)))
    described = [
        _describe_needs(artifact, group) for artifact, group in zip(artifacts, groups, strict=True)
    ]
    numbers = {one.label: number for number, one in enumerate(described)}
    if len(numbers) < len(described):  # one name twice: nobody's order but the lock's
        return tuple(range(len(artifacts)))
    return tuple(numbers[one.label] for one in order_contents(described))


def _list_wheel_needs(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield the projects of METADATA's Requires-Dist; those of extras count for nobody."""
    text = _read_paper(entries, r"\.dist-info/METADATA$")
    for header in _list_headers(text):
        name = _WISH.match(header)
        if name and "extra" not in header.partition(";")[2]:
            yield normalise_name(name[1])


def _list_headers(text: str) -> list[str]:
    """Return the headers as `email.parser`, which takes long to import, would part them."""
    headers: list[str] = []
    for line in io.StringIO(text, newline=""):
        if not _HEADER.match(line):
            break
        if line[0] in "\t " and headers:
            headers[-1] += line
        else:
            headers.append(line)
    return headers


def _list_conda_needs(entries: Sequence[Entry]) -> Iterator[str]:
    record = json.loads(_read_paper(entries, r"/conda-meta/[^/]+\.json$") or "{}")
    wishes = record.get("depends")
    for wish in wishes if isinstance(wishes, list) else ():
        yield str(wish).partition(" ")[0]


def _read_paper(entries: Sequence[Entry], pattern: str) -> str:
    """Return the text of the entry whose path has `pattern`; "" if there is none."""
    for entry in entries:
        if re.search(pattern, entry.path) and entry.body is not None:
            piece = entry.body()
            data = b"".join(piece.data)
            try:
                plain = inflate_whole(data, piece.size, piece.crc32) if piece.deflated else data
            except StreamError:
                return ""  # who packs it will say so
            return plain.decode(errors="replace")
    return ""


def render_contents(contents: Iterable[Contents]) -> bytes:
    """Return contents as a few bytes, to be kept beside the layer that holds them."""
    said = [
        [one.manager, one.name, one.needs, [[t.path, t.kind, t.mark] for t in one.traces]]
        for one in contents
    ]
    return zlib.compress(json.dumps(said, separators=(",", ":")).encode())


def parse_contents(data: bytes) -> tuple[Contents, ...]:
    """Return what `render_contents` rendered; raises `ValueError` for anything else."""
    try:
        return tuple(
            Contents(
                manager=manager,
                name=str(name),
                needs=tuple(map(str, needs)),
                traces=tuple(Trace(path=path, kind=kind, mark=mark) for path, kind, mark in traces),
            )
            for manager, name, needs, traces in json.loads(zlib.decompress(data))
        )
    except (zlib.error, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def order_contents(contents: Iterable[Contents]) -> tuple[Contents, ...]:
    """Return an environment's contents in the order in which installers install: the last counts.

    A circle of packages that need each other is opened somewhere, always in the same place.
    """
    every = sorted(contents, key=lambda one: one.name, reverse=True)
    ordered: list[Contents] = []
    for manager in _MANAGERS:
        mine = {one.name: one for one in every if one.manager == manager}
        needs = {one.name: [n for n in one.needs if n in mine] for one in mine.values()}
        names = _order_by_level(needs) if manager == "wheel" else _order_by_descent(needs)
        ordered += [mine[name] for name in names]
    return tuple(ordered)


def _order_by_level(needs: Mapping[str, list[str]]) -> list[str]:
    """Return pip's order of names that are given backwards."""
    ordered: dict[str, None] = {}
    while len(ordered) < len(needs):
        left = [name for name in needs if name not in ordered]
        level = [name for name in left if all(need in ordered for need in needs[name])]
        ordered |= dict.fromkeys(level or left)
    return list(ordered)


def _order_by_descent(needs: Mapping[str, list[str]]) -> list[str]:
    """Return py-rattler's order of names that are given backwards."""
    needed = {need for several in needs.values() for need in several}
    ordered: list[str] = []
    seen: set[str] = set()
    # Taken from the end: first those that nobody needs, then what is left in circles.
    todo = [(name, False) for name in (*sorted(needs), *sorted(set(needs) - needed))]
    while todo:
        name, is_ready = todo.pop()
        if is_ready:
            ordered.append(name)
        elif name not in seen:
            seen.add(name)
            todo.append((name, True))
            todo += [(need, False) for need in sorted(needs[name])]
    return ordered


def find_overruled(stack: Sequence[Contents]) -> Mapping[str, tuple[str, ...]]:
    """Return the files that lie below another in `stack`, and should count: paths by label.

    `stack` is in the order in which layers are stacked, and packages within each: whose file is
    on top. Empty for nearly every environment.
    """
    places = {one.label: number for number, one in enumerate(stack)}
    clashes = find_clashes({one.label: one.traces for one in order_contents(stack)})
    rightful = {clash.path: clash.second for clash in clashes if clash.kind == "content"}
    owners: dict[str, set[str]] = {path: set() for path in rightful}
    for clash in clashes:
        if clash.kind == "content":
            owners[clash.path] |= {clash.first, clash.second}
    found: dict[str, list[str]] = {}
    for path, owner in rightful.items():
        if max(owners[path], key=lambda label: places[label]) != owner:
            found.setdefault(owner, []).append(path)
    return {label: tuple(sorted(paths)) for label, paths in sorted(found.items())}


def pick_entries(entries: Sequence[Entry], paths: Iterable[str]) -> tuple[Entry, ...]:
    """Return those entries of an artifact that are at `paths`, to lie in a layer of their own.

    A hard link, whose file stays in another layer, becomes the file.
    """
    known = {entry.path: entry for entry in entries}
    wanted = [known[path] for path in sorted(paths) if path in known]
    return tuple(replace(known[e.link], path=e.path) if e.kind == "hardlink" else e for e in wanted)


def check_clashes(clashes: Iterable[Clash]) -> None:
    """Raise `ImageError("layer.clash")` where one brings a folder and another a file."""
    for clash in clashes:
        if clash.kind == "type":
            raise ImageError(
                "layer.clash",
                f"`{clash.path}` is a folder for one of `{clash.first}` and `{clash.second}`, "
                "and a file or a link for the other",
                hint="ask for another version of one of them in the spec, or leave one out",
            )


def summarise_clashes(clashes: Sequence[Clash]) -> tuple[str, ...]:
    """Return a few lines for people: what is brought by whom, and whose counts.

    `clashes` are those of `find_clashes`, given its artifacts in the order of `order_contents`.
    """
    by_path: dict[str, list[str]] = {}
    folded: dict[str, list[str]] = {}
    for clash in clashes:
        owners = (folded if clash.kind == "case" else by_path).setdefault(clash.path, [])
        if clash.first not in owners:
            owners.append(clash.first)
        if clash.second in owners:
            owners.remove(clash.second)
        owners.append(clash.second)  # who counts is last
    lines = [
        f"`{path}`: brought by {_list_names(owners)}; `{owners[-1]}`'s counts"
        for path, owners in by_path.items()
    ]
    lines += [
        f"`{path}`: {_list_names(owners)} spell it in different ways; "
        "where case doesn't count, only one can be"
        for path, owners in folded.items()
    ]
    more = len(lines) - _LINES
    return (*lines[:_LINES], f"and {more} more paths") if more > 0 else tuple(lines)


def _list_names(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]]) if len(quoted) > 1 else quoted[0]
