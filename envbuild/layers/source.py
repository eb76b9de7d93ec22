"""A folder or file of the repository to the entries of a layer: its files as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from envbuild.errors import ImageError
from envbuild.identity.recipe import Recipe
from envbuild.kit.tree import ChangedError, TreeFile, read_again
from envbuild.layers.entry import Entry, Piece
from envbuild.layers.skeleton import read_skeleton

__all__ = ["SourceTree", "find_folders", "read_source", "refuse_unreadable"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceTree:
    """The files that one entry of `image.source` names, and where they are on this machine.

    `path` is the entry's, for messages. `root` is what the files' own paths are relative to; of a
    single file it is the file itself, whose path is empty.
    """

    path: str
    root: Path
    files: tuple[TreeFile, ...]


def find_folders(recipe: Recipe, target: str) -> tuple[Entry, ...]:
    """Return the folders on the way to `target` and below it that the skeleton has.

    Each layer names all of its folders, and the last one to name it decides whose a folder is: so
    a home stays its user's.
    """
    place = target.lstrip("/") + "/"
    return tuple(
        entry
        for entry in read_skeleton(recipe)
        if entry.kind == "directory"
        and (place.startswith(f"{entry.path}/") or entry.path.startswith(place))
    )


def read_source(tree: SourceTree, target: str) -> tuple[Entry, ...]:
    """Return the entries of `tree` at `target`.

    Their contents are checked while they are read: `ImageError` `source.changed`,
    `source.unreadable`.
    """
    place = target.lstrip("/")
    return tuple(_make_entry(tree, file, f"{place}/{file.path}".rstrip("/")) for file in tree.files)


def _make_entry(tree: SourceTree, file: TreeFile, path: str) -> Entry:
    if file.link is not None:
        return Entry(path=path, kind="symlink", mode=file.mode, link=file.link)
    body = partial(_open, tree, file)
    return Entry(path=path, kind="file", mode=file.mode, size=file.size, body=body)


def _open(tree: SourceTree, file: TreeFile) -> Piece:
    return Piece(data=_read(tree, file), source=f"`{tree.root / file.path}`")


def _read(tree: SourceTree, file: TreeFile) -> Iterator[bytes]:
    try:
        yield from read_again(tree.root, file)
    except OSError as error:
        raise refuse_unreadable(tree.path, tree.root / file.path, error) from error
    except ChangedError:
        raise ImageError(
            "source.changed",
            f"`{tree.root / file.path}` changed while the image was being made",
            hint="run the same command again when nothing writes to it any more",
        ) from None


def refuse_unreadable(path: str, place: Path, error: OSError) -> ImageError:
    """Return the error for a file of the source `path` that can't be read, or is gone."""
    return ImageError(
        "source.unreadable",
        f"`{place}`, which belongs to the source `{path}`, can't be read: {error.strerror}",
        hint="correct its permissions, or leave it out with `.gitignore`; if it is only now gone, "
        "run the same command again",
    )
