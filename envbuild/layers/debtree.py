"""The tree that all Debian packages of an image make together, to be looked at before it exists.

Links are followed as the image's kernel would follow them, those of a merged /usr included.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from typing import Final

from envbuild.layers.deb import merge_path
from envbuild.layers.entry import Entry

__all__ = ["Tree"]

_DEPTH: Final = 40
"""Links that are followed for one path, as in Linux."""


class Tree:
    """Entries by path; of several at one path the last counts. Paths are relative and clean."""

    def __init__(self, groups: Iterable[Sequence[Entry]]) -> None:
        self._entries: dict[str, Entry] = {}
        self._folders: dict[str, set[str]] = {}
        for group in groups:
            self.add(group)

    def add(self, entries: Iterable[Entry]) -> None:
        """Put `entries` into the tree, over what is there."""
        for entry in entries:
            self._entries[entry.path] = entry
            path = entry.path
            while path:
                folder, _, name = path.rpartition("/")
                names = self._folders.setdefault(folder, set())
                if name in names:
                    break
                names.add(name)
                path = folder

    def look(self, path: str) -> Entry | None:
        """Return the entry at `path` itself; links on the way to it are followed, it is not."""
        place = self._walk(path, last=False)
        return self._entries.get(place) if place is not None else None

    def resolve(self, path: str) -> str | None:
        """Return where `path` is once all links are followed; None if nothing is there."""
        place = self._walk(path, last=True)
        return place if place is not None and self._is_there(place) else None

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder; none if it isn't there."""
        place = self._walk(folder, last=True)
        return sorted(self._folders.get(place, ())) if place is not None else []

    def find_file(self, path: str) -> Entry | None:
        """Return the file that `path` leads to, the one with the content of several hard links."""
        place = self._walk(path, last=True)
        entry = self._entries.get(place) if place is not None else None
        if entry is not None and entry.kind == "hardlink":
            entry = self._entries.get(entry.link)
        return entry if entry is not None and entry.kind == "file" else None

    def read(self, path: str) -> bytes | None:
        """Return the content of the file that `path` leads to, or None."""
        entry = self.find_file(path)
        if entry is None or entry.body is None:
            return b"" if entry is not None else None
        return b"".join(entry.body().data)

    def _is_there(self, place: str) -> bool:
        return place in self._entries or place in self._folders or not place

    def _walk(self, path: str, *, last: bool) -> str | None:
        """Return `path` with its links followed, the last part's only if `last`; None in a loop."""
        todo = merge_path(path.strip("/")).split("/")[::-1]
        place, followed = "", 0
        while todo:
            part = todo.pop()
            here = f"{place}/{part}" if place else part
            entry = self._entries.get(here)
            if entry is None or entry.kind != "symlink" or not (todo or last):
                place = here
                continue
            followed += 1
            if followed > _DEPTH:
                return None
            target = posixpath.normpath(posixpath.join("/", place, entry.link)).lstrip("/")
            todo += merge_path(target).split("/")[::-1] if target else []
            place = ""
        return place
