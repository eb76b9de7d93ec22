"""Writes `/etc/ld.so.cache` as ldconfig(8) would, and finds the links that it would make.

The loader looks in this file for every library; `ldconfig -p`, and so Python's
`ctypes.util.find_library`, looks nowhere else. Rules and format are those of glibc 2.32 and later
(`elf/ldconfig.c`, `elf/cache.c`, `sysdeps/generic/dl-cache.h`: "glibc-ld.so.cache1.1" without the
older format before it). Not covered: `glibc-hwcaps` folders with variants for newer processors
(the baseline library is taken, as the loader does on an older processor). A library of another
machine that lies among those of this one is listed; the loader passes over it.
"""

from __future__ import annotations

import fnmatch
import functools
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from envbuild.layers.debtree import Tree
from envbuild.layers.elf import Library, read_library
from envbuild.layers.entry import Entry

__all__ = ["CacheRow", "compare_names", "plan_cache", "render_cache"]

_MAGIC: Final = b"glibc-ld.so.cache1.1"
_LITTLE_ENDIAN: Final = 2
_EXTENSION: Final = 0xEAA42174
_GENERATOR: Final = b"envbuild"
_HEADER: Final = struct.Struct("<20sII B3x I 12x")
_ROW: Final = struct.Struct("<iIIIQ")
_SECTION: Final = struct.Struct("<IIII")

_BUILT_IN: Final = ("/lib", "/usr/lib")
"""Searched last, whatever ld.so.conf says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheRow:
    """One line of `ldconfig -p`: a library's name, its path, and what it was made for."""

    name: str
    path: str
    flags: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """A file in a folder: the name it has there, and the name it is to be found by."""

    file: str
    name: str
    is_link: bool
    library: Library


def plan_cache(tree: Tree) -> tuple[tuple[CacheRow, ...], tuple[Entry, ...]]:
    """Return the cache's rows in their order, and the links from libraries' names to their files.

    The folders are those of `/etc/ld.so.conf` and what it includes, then /lib and /usr/lib.
    """
    rows: list[CacheRow] = []
    links: list[Entry] = []
    for folder in _find_folders(tree):
        for found in _search(tree, folder):
            link = None if found.is_link else _plan_link(tree, folder, found)
            if link is not None:
                links.append(link)
            flags = found.library.flags
            rows.append(CacheRow(name=found.name, path=f"{folder}/{found.name}", flags=flags))
    return tuple(sorted(rows, key=_ORDER)), tuple(sorted(links, key=lambda link: link.path))


def _find_folders(tree: Tree) -> Iterator[str]:
    """Yield the folders that are there, each once though several paths may lead to it."""
    seen: set[str] = set()
    for folder in (*_read_config(tree, "/etc/ld.so.conf", set()), *_BUILT_IN):
        place = tree.resolve(folder)
        if place is not None and place not in seen:
            seen.add(place)
            yield folder


def _read_config(tree: Tree, path: str, seen: set[str]) -> Iterator[str]:
    data = tree.read(path) or b""
    if path in seen:
        return
    seen.add(path)
    for line in data.decode(errors="surrogateescape").splitlines():
        words = line.partition("#")[0].split()
        if words[:1] == ["include"]:
            for pattern in words[1:]:
                for file in _match(tree, pattern if pattern[0] == "/" else f"/etc/{pattern}"):
                    yield from _read_config(tree, file, seen)
        elif words and words[0].lower() != "hwcap":
            yield " ".join(words).partition("=")[0].rstrip("/ ")


def _match(tree: Tree, pattern: str) -> list[str]:
    folder, _, name = pattern.rpartition("/")
    found = fnmatch.filter(tree.names(folder), name)
    return [f"{folder}/{n}" for n in sorted(found) if not n.startswith(".")]


def _search(tree: Tree, folder: str) -> Iterable[_Found]:
    """Return a folder's libraries, of several with one name the file, or the newest."""
    best: dict[str, _Found] = {}
    for file in filter(_is_library, tree.names(folder)):
        here = tree.look(f"{folder}/{file}")
        target = tree.find_file(f"{folder}/{file}")
        library = read_library(target) if here is not None and target is not None else None
        if here is None or library is None:
            continue
        name = library.soname or file
        # A link is kept as one if it is the library's own name, or the shorter one for ld(1).
        is_link = here.kind == "symlink" and (
            file == name or (file.endswith(".so") and name.startswith(file))
        )
        found = _Found(file=file, name=file if is_link else name, is_link=is_link, library=library)
        before = best.get(found.name)
        if before is None or _is_better(found, before):
            best[found.name] = found
    return best.values()


def _is_library(name: str) -> bool:
    if name.startswith(("lib", "ld-")):
        return ".so" in name and not name.endswith((".dpkg-new", ".dpkg-tmp"))
    return name.startswith(("ld.so.", "ld64.so."))


def _is_better(one: _Found, other: _Found) -> bool:
    if one.is_link != other.is_link:
        return not one.is_link
    return compare_names(other.file, one.file) < 0


def _plan_link(tree: Tree, folder: str, found: _Found) -> Entry | None:
    """Return the link from a library's name to its file, if there is none yet."""
    wanted, there = f"{folder}/{found.name}", tree.look(f"{folder}/{found.name}")
    target = tree.find_file(f"{folder}/{found.file}")
    if tree.find_file(wanted) is target or (there is not None and there.kind != "symlink"):
        return None
    place = tree.resolve(folder)
    return Entry(path=f"{place}/{found.name}", kind="symlink", mode=0o777, link=found.file)


def compare_names(one: str, other: str) -> int:
    """Return how glibc's loader orders two names (below, at or above 0): digits by their value."""
    a, b = one.encode(errors="surrogateescape"), other.encode(errors="surrogateescape")
    i = j = 0
    while i < len(a):
        digits = _digits(a, i), _digits(b, j)
        if all(digits):
            if int(digits[0]) != int(digits[1]):
                return int(digits[0]) - int(digits[1])
            i, j = i + len(digits[0]), j + len(digits[1])
        elif any(digits):
            return 1 if digits[0] else -1
        elif j >= len(b) or a[i] != b[j]:
            return a[i] - (b[j] if j < len(b) else 0)
        else:
            i, j = i + 1, j + 1
    return -b[j] if j < len(b) else 0


def _digits(name: bytes, start: int) -> bytes:
    end = start
    while end < len(name) and name[end : end + 1].isdigit():
        end += 1
    return name[start:end]


def _compare_rows(one: CacheRow, other: CacheRow) -> int:
    # The loader searches by halves, from the highest name to the lowest.
    names = compare_names(other.name, one.name)
    return names or other.flags - one.flags


_ORDER: Final = functools.cmp_to_key(_compare_rows)


def render_cache(rows: Sequence[CacheRow], *, generator: bytes = _GENERATOR) -> bytes:
    """Return the cache file of `rows`, which are in their order."""
    start = _HEADER.size + _ROW.size * len(rows)
    places, strings = _pack_strings({text for row in rows for text in (row.name, row.path)})
    body = b"".join(
        _ROW.pack(row.flags, start + places[row.name], start + places[row.path], 0, 0)
        for row in rows
    )
    end = start + len(strings)
    extension = -(-end // 4) * 4
    head = _HEADER.pack(_MAGIC, len(rows), len(strings), _LITTLE_ENDIAN, extension)
    section = struct.pack("<II", _EXTENSION, 1)
    place = extension + len(section) + _SECTION.size
    section += _SECTION.pack(0, 0, place, len(generator))
    return head + body + strings + bytes(extension - end) + section + generator


def _pack_strings(texts: Iterable[str]) -> tuple[dict[str, int], bytes]:
    """Return where each string is, and all of them; one that ends another is a part of it."""
    whole = {text: text.encode(errors="surrogateescape") for text in texts}
    places: dict[str, int] = {}
    out = bytearray()
    last, start = b"", 0
    # Read backwards, one that is the end of another sorts before it; so it comes after it here.
    for text, data in sorted(whole.items(), key=lambda item: item[1][::-1], reverse=True):
        if last.endswith(data) and last:
            places[text] = start + len(last) - len(data)
        else:
            start = len(out)
            places[text] = start
            out += data + b"\0"
            last = data
    return places, bytes(out)
