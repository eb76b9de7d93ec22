"""Builds the repository's own source trees: the topmost layer, as the tree is at each build.

What belongs to a tree is what git doesn't ignore. Its digest names what it was built into, so a
build with nothing new hashes the tree's files and does no more.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from envbuild.errors import LockError
from envbuild.kit.canonical import digest_json
from envbuild.kit.listing import list_files
from envbuild.kit.tree import digest_tree, read_tree
from envbuild.lock.build_room import Hook
from envbuild.lock.built import Built, Order, build_once
from envbuild.lock.model import PlatformLock, Wheel
from envbuild.lock.provenance import Shop
from envbuild.lock.source_fit import check_fit

__all__ = ["build_tree", "build_trees", "find_requires"]

_BUILD_FILES: Final = ("pyproject.toml", "setup.py", "setup.cfg")
"""What says which packages a tree has."""


def build_trees(
    lock: PlatformLock, *, root: Path, shop: Shop, editable: bool = False
) -> tuple[tuple[Wheel, Path], ...]:
    """Return the wheel of each source tree of `lock` and its file in the cache, sorted by name.

    `root` is the repository's. With `editable`, a wheel points into the tree and holds no copy.
    Raises `LockError` `lock.stale` if a tree needs other packages than were locked,
    `pip.source-foreign` for a wheel of this machine alone where `lock` is for another, and what
    building raises.
    """
    found: list[tuple[Wheel, Path]] = []
    for tree in lock.trees:
        built = build_tree(
            root, tree.path, tree.name, shop=shop,
            requires=find_requires(lock.build, tree.requires), editable=editable,
        )  # fmt: skip
        if built.contents.needs != tree.needs:
            raise LockError(
                "lock.stale",
                f"the source tree `{tree.path}` asks for other packages than when "
                f"`{shop.task}` was locked",
                hint=f"to update the lockfile, run `nox -s lock -- {shop.task}`",
            )
        check_fit(
            built, package=tree.name, task=shop.task, subdir=lock.platform,
            minor=lock.python_minor, glibc=lock.glibc,
        )  # fmt: skip
        found.append((built.contents.wheel, built.path))
    return tuple(found)


def find_requires(build: Sequence[Wheel], requires: str) -> tuple[Wheel, ...]:
    """Return the locked wheels whose file names `requires` lists."""
    by_name = {wheel.filename: wheel for wheel in build}
    return tuple(by_name[name] for name in requires.split() if name in by_name)


def build_tree(
    root: Path,
    path: str,
    package: str,
    *,
    shop: Shop,
    requires: Sequence[Wheel] | None = None,
    editable: bool = False,
    anew: bool = False,
) -> Built:
    """Return the wheel of the source tree `path` of the repository `root`.

    `package` is its name for messages. An editable one is built in the tree itself, by its own
    backend (PEP 660), else a copy of what git doesn't ignore is. Raises `LockError`
    `pip.no-tree`, and what `build_once` raises.
    """
    folder = root / path
    if not folder.is_dir() or not folder.resolve().is_relative_to(root.resolve()):
        raise LockError(
            "pip.no-tree",
            f"there is no source tree `{path}` in the repository",
            hint="correct `pip.local`; a folder outside of the repository can't be one",
        )
    paths = list_files(folder).paths
    if editable:
        # Edits count without a build, apart from those of what says which packages there are.
        digest = _digest_files(folder, (p for p in paths if p in _BUILD_FILES))
        folders = sorted({str(PurePosixPath(p).parent) for p in paths if p.endswith(".py")})
        identity = ("editable", str(folder.resolve()), digest, *folders)
        order = Order(
            package=package, identity=identity, prepare=lambda _: folder.resolve(),
            hook="build_editable",
        )  # fmt: skip
    else:

        def prepare(work: Path) -> Path:
            _copy(folder, paths, work)
            return work

        identity = ("tree", _digest_files(folder, paths))
        # The lock serves both: the image, and `--target local`.
        asks: tuple[Hook, ...] = ("build_wheel", "build_editable")
        order = Order(package=package, identity=identity, prepare=prepare, asks=asks)
    return build_once(order, shop, requires=requires, anew=anew)


def _digest_files(folder: Path, paths: Iterable[str]) -> str:
    """Return a digest of the files, and of what the copy has besides: links that lead out."""
    files, strays = read_tree(folder, paths)
    digest = digest_tree(files, head="envbuild-tree 1")
    return digest_json([digest, [[stray.path, stray.why] for stray in strays]])


def _copy(folder: Path, paths: Iterable[str], work: Path) -> None:
    for path in paths:
        source, target = folder / path, work / path
        if source.is_symlink() or source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target, follow_symlinks=False)
