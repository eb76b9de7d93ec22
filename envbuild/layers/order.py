"""Merges the entries of several artifacts into one layer, and finds where artifacts collide."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from isal import isal_zlib

from envbuild.errors import ImageError
from envbuild.layers.entry import Entry

__all__ = ["Clash", "Trace", "find_clashes", "list_entries", "plan_entries"]

_UNCLEAN: Final = re.compile(r"/\.{0,2}/")
"""Between two slashes: nothing, `.` or `..`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """One path of an artifact and a `mark`: two files with equal marks have equal content.

    Small and plain, to be kept beside a finished layer: clashes can then be found without the
    artifacts. The mark of a file is its mode, size and CRC-32; of a symbolic link, its target.
    """

    path: str
    kind: Literal["file", "directory", "symlink"]
    mark: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clash:
    """Two artifacts that can't both have their way at `path`.

    `content`: both bring a file or link there, and not the same one. `type`: one brings a folder
    where the other brings a file or a link. `case`: their paths differ in case alone, so only
    one can exist where case doesn't count.
    """

    path: str
    first: str
    second: str
    kind: Literal["content", "type", "case"]


def plan_entries(
    groups: Sequence[Sequence[Entry]], *, names: Sequence[str] = ()
) -> tuple[Entry, ...]:
    """Return the entries of one layer in the order in which they are written.

    Sorted by path, folders before what is in them, hard links last. Folders that nobody brings
    are made up (mode 0755, owner 0). Where several groups bring one path, the first one's folder
    stays, but the last one's file or link counts. `names` are the groups' for messages. Raises
    `ImageError`: `layer.clash` where one brings a folder and another a file, `layer.bad-path` for a
    path that is not relative and clean.
    """
    merged: dict[str, Entry] = {}
    for group in groups:
        for entry in group:
            before = merged.setdefault(entry.path, entry)
            if before is not entry:
                if (before.kind == "directory") != (entry.kind == "directory"):
                    raise _clash(entry.path, groups, names)
                merged[entry.path] = before if before.kind == "directory" else entry
    _check_paths(merged)
    for folder in _find_folders(merged):
        made = merged.setdefault(folder, Entry(path=folder, kind="directory", mode=0o755))
        if made.kind != "directory":
            raise _clash(folder, groups, names)
    return tuple(sorted(merged.values(), key=_place))


def _place(entry: Entry) -> tuple[bool, str]:
    return entry.kind == "hardlink", entry.path


def _check_paths(paths: Iterable[str]) -> None:
    for path in paths:
        # The slashes make one search of what could be at either end, too.
        if _UNCLEAN.search(f"/{path}/"):
            raise ImageError("layer.bad-path", f"`{path}` is no clean path below the image's root")


def _find_folders(paths: Iterable[str]) -> set[str]:
    """Return every folder that has one of `paths` in or below it."""
    folders: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return folders


def _clash(path: str, groups: Sequence[Sequence[Entry]], names: Sequence[str]) -> ImageError:
    """Say who brings a folder at `path`, and who something else."""
    folders: list[str] = []
    others: list[str] = []
    for name, group in zip(names, groups, strict=False):
        at = {entry.kind for entry in group if entry.path == path}
        if "directory" in at or any(entry.path.startswith(f"{path}/") for entry in group):
            folders.append(f"`{name}`")
        if at - {"directory"}:
            others.append(f"`{name}`")
    return ImageError(
        "layer.clash",
        f"{_join(folders) or 'one package'} brings `{path}` as a folder, "
        f"and {_join(others) or 'another'} as a file or a link",
        hint="ask for another version of one of them in the spec, or leave one out",
    )


def _join(names: Sequence[str]) -> str:
    return " and ".join(names)


def list_entries(entries: Iterable[Entry]) -> tuple[Trace, ...]:
    """Return the traces of one artifact's entries; plain content is read once for its CRC-32."""
    traces: dict[str, Trace] = {}
    links: list[Entry] = []
    for entry in entries:
        if entry.kind == "hardlink":
            links.append(entry)
        else:
            traces[entry.path] = _trace(entry)
    for link in links:
        target = traces.get(link.link)
        mark = target.mark if target else f"link to {link.link}"
        traces[link.path] = Trace(path=link.path, kind="file", mark=mark)
    return tuple(sorted(traces.values(), key=lambda trace: trace.path))


def _trace(entry: Entry) -> Trace:
    if entry.kind == "symlink":
        return Trace(path=entry.path, kind="symlink", mark=entry.link)
    if entry.kind == "directory":
        return Trace(path=entry.path, kind="directory")
    mark = f"{entry.mode:o} {entry.size} {_checksum(entry):08x}"
    return Trace(path=entry.path, kind="file", mark=mark)


def _checksum(entry: Entry) -> int:
    if entry.body is None or not entry.size:
        return 0
    piece = entry.body()
    if piece.deflated:
        return piece.crc32
    checksum = 0
    for data in piece.data:
        checksum = isal_zlib.crc32(data, checksum)
    return checksum


def find_clashes(artifacts: Mapping[str, Sequence[Trace]]) -> tuple[Clash, ...]:
    """Return where artifacts (by name, each with its traces) collide, sorted by path.

    Given them in the order in which they are installed, `second` counts over `first`, and of
    several clashes at one path the last one's `second` counts. What an artifact does with its own
    paths is its own affair.
    """
    finder = _Finder()
    for name, traces in artifacts.items():
        for folder in sorted(_find_folders(trace.path for trace in traces)):
            finder.see(name, Trace(path=folder, kind="directory"))
        for trace in traces:
            finder.see(name, trace)
    return tuple(sorted(finder.clashes, key=lambda clash: clash.path))


class _Finder:
    """What has been seen so far: by path, and by the path without its case."""

    def __init__(self) -> None:
        self.clashes: list[Clash] = []
        self._seen: dict[str, list[tuple[str, Trace]]] = {}
        self._folded: dict[str, tuple[str, str]] = {}

    def see(self, name: str, trace: Trace) -> None:
        others = self._seen.setdefault(trace.path, [])
        if not others:
            self._see_case(name, trace.path)
        elif trace.kind == "directory" and others[-1][1] == trace:
            return  # of a folder that all share, the first one is enough
        for owner, before in others:
            if owner != name and before != trace:
                same_type = before.kind != "directory" and trace.kind != "directory"
                kind: Literal["content", "type"] = "content" if same_type else "type"
                self.clashes.append(Clash(path=trace.path, first=owner, second=name, kind=kind))
        others.append((name, trace))

    def _see_case(self, name: str, path: str) -> None:
        """Report the topmost folder or file only: all below it differ in the same way."""
        parent, _, last = path.rpartition("/")
        owner, spelt = self._folded.setdefault(f"{parent}/{last.casefold()}", (name, path))
        if spelt != path and owner != name:
            self.clashes.append(Clash(path=path, first=owner, second=name, kind="case"))
