"""Puts the corpus on disk twice, by an installer and by envbuild, and compares what is there.

The kinds of difference that may be are those of docs/installed-files.md, by name.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from envbuild.layers.entry import Entry
from envbuild.layers.order import plan_entries
from envbuild.layers.write import write_layer

__all__ = ["compare_trees", "list_documented", "run", "unpack_entries", "walk"]

_DOCUMENT = Path(__file__).parents[2] / "docs" / "installed-files.md"

Judge = Callable[[str, Path, Path], str]
"""Given a path and both files that differ: the kind of the difference, "" for one with no excuse.

One that only one side has is a path where nothing is on the other.
"""


def run(command: Sequence[str | Path], **variables: str) -> str:
    """Run a tool as nobody in particular: plain umask, no settings of the user's."""
    home = {"HOME": "/nonexistent", "PATH": os.defpath, "LC_ALL": "C.UTF-8"}
    ended = subprocess.run(
        list(map(str, command)), env=home | variables, umask=0o022, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, f"{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
    return ended.stdout


def unpack_entries(groups: Sequence[Sequence[Entry]], folder: Path) -> Path:
    """Write the entries as one layer and let GNU tar unpack it below `folder`; return its root."""
    folder.mkdir(parents=True)
    blob = folder / "layer.tar.gz"
    with blob.open("wb") as out:
        write_layer(plan_entries(groups), out.write, compression="gzip")
    root = folder / "root"
    root.mkdir()
    run(["tar", "--extract", "--gzip", "--same-permissions", "--file", blob, "--directory", root])
    blob.unlink()
    return root


def walk(root: Path) -> Iterator[str]:
    """Yield the path of all that is below `root`, folders that hold something left out."""
    for name, folders, files in os.walk(root):
        folder = Path(name)
        links = [inside for inside in folders if (folder / inside).is_symlink()]
        for inside in (*files, *links):
            yield (folder / inside).relative_to(root).as_posix()
        if not files and not folders and folder != root:
            yield folder.relative_to(root).as_posix()


def compare_trees(ours: Path, theirs: Path, judge: Judge) -> tuple[int, Counter[str]]:
    """Return how many paths were compared, and how many differ in each documented way.

    Fails for those that differ in any other way, by name.
    """
    paths = sorted({*walk(ours), *walk(theirs)})
    found: Counter[str] = Counter()
    wrong: list[str] = []
    for path in paths:
        if _is_same(ours / path, theirs / path):
            continue
        kind = judge(path, ours / path, theirs / path)
        found[kind] += 1
        if not kind:
            wrong.append(path)
    assert not wrong, "\n".join([f"{len(wrong)} of {len(paths)} differ:", *wrong[:40]])
    assert set(found) <= list_documented(), found
    return len(paths), found


def _is_same(mine: Path, other: Path) -> bool:
    if not (os.path.lexists(mine) and os.path.lexists(other)):
        return False
    first, second = mine.lstat(), other.lstat()
    if stat.S_IFMT(first.st_mode) != stat.S_IFMT(second.st_mode):
        return False
    if stat.S_ISLNK(first.st_mode):
        return mine.readlink() == other.readlink()
    if first.st_mode != second.st_mode:
        return False
    if stat.S_ISDIR(first.st_mode):
        return True
    return first.st_size == second.st_size and mine.read_bytes() == other.read_bytes()


def list_documented(section: str = "differences") -> set[str]:
    """Return the first column of the documentation's table in a section, named by its anchor."""
    text = _DOCUMENT.read_text().partition(f'<a id="{section}"></a>')[2].partition("\n#")[0]
    return set(re.findall(r"^\| `([\w.-]+)` \|", text, re.MULTILINE))
