"""Spreads a huge artifact's entries over several layers, so that none is too big to move about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from envbuild.layers.entry import Entry

__all__ = ["split_entries"]

_HEADER = 512


def split_entries(entries: Sequence[Entry], *, part: int, parts: int) -> tuple[Entry, ...]:
    """Return those of a layer's `entries` that go into `part` (from 0) of `parts`, in their order.

    `entries` are as `layers.order.plan_entries` gives them. Which file goes where depends on the
    entries alone: the biggest first, each to the part that has least by then. A hard link goes
    with its file. A folder is in every part that has something in it, and one that holds nothing
    is in the first.
    """
    if parts == 1:
        return tuple(entries)
    places = _place_files(entries, parts)
    folders = _find_folders(path for path, place in places.items() if place == part)
    used = _find_folders(places)
    return tuple(
        entry
        for entry in entries
        if (
            entry.path in folders or (part == 0 and entry.path not in used)
            if entry.kind == "directory"
            else places[entry.path] == part
        )
    )


def _place_files(entries: Sequence[Entry], parts: int) -> dict[str, int]:
    """Return the part of each path that is no folder."""
    places: dict[str, int] = {}
    loads = [0] * parts
    files = [entry for entry in entries if entry.kind not in {"directory", "hardlink"}]
    for entry in sorted(files, key=lambda entry: (-entry.size, entry.path)):
        place = loads.index(min(loads))
        places[entry.path] = place
        loads[place] += entry.size + _HEADER
    for entry in entries:
        if entry.kind == "hardlink":
            places[entry.path] = places.get(entry.link, 0)
    return places


def _find_folders(paths: Iterable[str]) -> set[str]:
    """Return every folder that has one of `paths` in or below it."""
    folders: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return folders
