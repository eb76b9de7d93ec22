"""Takes the repository's files that an image holds, as they are now, and names them by content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from envbuild.errors import ImageError
from envbuild.identity.recipe import Source
from envbuild.kit.listing import list_files
from envbuild.kit.tree import Stray, TreeFile, digest_tree, read_tree
from envbuild.layers.source import SourceTree, refuse_unreadable
from envbuild.spec.model import Image, ImageSource

__all__ = ["plan_sources"]

_FOLDERS: Final = frozenset({
    "boot", "etc/ssl", "home", "media", "mnt", "root", "srv", "usr/games", "usr/local",
    "usr/local/bin", "usr/local/etc", "usr/local/games", "usr/local/include", "usr/local/lib",
    "usr/local/sbin", "usr/local/share", "usr/local/src", "usr/share", "usr/src", "var/backups",
    "var/cache", "var/lib", "var/local", "var/log", "var/mail", "var/opt", "var/spool", "workspace",
})  # fmt: skip
"""Folders of the Filesystem Hierarchy Standard in which an image may have files of its own."""


def plan_sources(image: Image, *, root: Path) -> dict[Source, SourceTree]:
    """Return what each entry of `image.source` brings, and where that is.

    `root` is the repository's. What git ignores stays out, as it does of snapshots. Raises
    `ImageError`: `source.missing`, `source.outside`, `source.empty`, `source.git`, `source.file`,
    `source.unreadable`.
    """
    planned: dict[Source, SourceTree] = {}
    for entry in image.source:
        try:
            tree = _read(root, entry.path)
        except OSError as error:
            place = Path(str(error.filename or root / entry.path))
            raise refuse_unreadable(entry.path, place, error) from error
        _check_file_target(entry, tree)
        source = Source(
            target=entry.target,
            digest=digest_tree(tree.files, head="envbuild-source 1"),
            size=sum(file.size for file in tree.files),
        )
        planned[source] = tree
    return planned


def _read(root: Path, path: str) -> SourceTree:
    place = (root / path).resolve()
    if not place.is_relative_to(root.resolve()):
        raise ImageError(
            "source.outside",
            f"the source `{path}` is a link that leads out of the repository, to `{place}`",
            hint="name a folder or file of the repository as `path` in `[[image.source]]`",
        )
    if not place.exists():
        raise ImageError(
            "source.missing",
            f"there is no folder or file `{path}` in the repository, which the image is to hold",
            hint="correct `path` in `[[image.source]]`",
        )
    single = not place.is_dir()
    listing = list_files(place.parent if single else place)
    if listing.note:
        raise ImageError(
            "source.git",
            f"nobody can tell which files belong to the source `{path}`: {listing.note}",
            hint="name another `path` in `[[image.source]]`: this one is of git's own folder"
            if ".git" in place.relative_to(root.resolve()).parts
            else "install `git`; for a repository of another user, run "
            "`git config --global --add safe.directory FOLDER`",
        )
    paths = [""] if single and place.name in listing.paths else () if single else listing.paths
    files, strays = read_tree(place, paths)
    marks = _find_marks(file.path or path for file in files)
    _check_strays(path, [*strays, *marks, *_find_dangling(place, files)])
    if not files:
        raise ImageError(
            "source.empty",
            f"the source `{path}` has no file that git doesn't ignore",
            hint=f"see which rule it is with `git check-ignore -v {path}/*`",
        )
    return SourceTree(path=path, root=place, files=files)


def _find_marks(paths: Iterable[str]) -> Iterator[Stray]:
    """Give the paths that a layer can't have, for they mean that something below is gone."""
    for path in paths:
        if any(part.startswith(".wh.") for part in path.split("/")):
            yield Stray(path=path, why="would remove a file from the image, for `.wh.` says so")


def _find_dangling(place: Path, files: Sequence[TreeFile]) -> Iterator[Stray]:
    """Give the links that lead to what the image won't have, for git ignores it."""
    there = {file.path for file in files}
    there |= {str(parent) for path in there for parent in PurePosixPath(path).parents}
    for file in files:
        if file.link is not None:
            end = (place / file.path).resolve().relative_to(place.resolve())
            if str(end) not in there and (place / end).exists():
                yield Stray(path=file.path, why=f"links to `{file.link}`, which git doesn't have")


def _check_file_target(entry: ImageSource, tree: SourceTree) -> None:
    """Refuse a single file in the place of a folder that systems have: it would replace that."""
    if tree.files[0].path == "" and entry.target.lstrip("/") in _FOLDERS:
        raise ImageError(
            "source.file",
            f"the source `{entry.path}` is a file, and its target `{entry.target}` is a folder of "
            "every system",
            hint=f'write `target = "{entry.target}/{PurePosixPath(entry.path).name}"`',
        )


def _check_strays(path: str, strays: Iterable[Stray]) -> None:
    """Refuse what an image can't have: to leave it out unasked would be another surprise."""
    for stray in strays:
        raise ImageError(
            "source.file",
            f"`{stray.path}` of the source `{path}` {stray.why}",
            hint="put a file in its place, or leave it out with `.gitignore`",
        )
