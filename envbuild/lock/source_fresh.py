"""Tells which files of the repository are no longer what a lock was made with, without building."""

from __future__ import annotations

from pathlib import Path

from envbuild.lock.model import Lock

__all__ = ["find_moved"]


def find_moved(lock: Lock, root: Path) -> tuple[str, ...]:
    """Return the paths of wheels and source trees that changed, sorted.

    Of a tree only what decides its dependencies counts (`source_tree.digest_config`); its code
    may change with every edit.
    """
    moved: set[str] = set()
    for part in lock.platforms.values():
        sizes = {wheel.sha256: wheel.size for wheel in part.wheels}
        for source in part.sources:
            if source.kind == "file" and not _is_same(
                root / source.place, source.wheel, sizes.get(source.wheel, -1)
            ):
                moved.add(source.place)
        if part.trees:
            from envbuild.lock.tree_config import digest_config

            moved |= {t.path for t in part.trees if digest_config(root, t.path) != t.config}
    return tuple(sorted(moved))


def _is_same(path: Path, sha256: str, size: int) -> bool:
    from envbuild.kit.canonical import digest_file

    try:
        return path.stat().st_size == size and digest_file(path) == f"sha256:{sha256}"
    except OSError:
        return False
