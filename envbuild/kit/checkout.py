"""A repository's files as they were at a git commit, without touching the checkout."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from envbuild.errors import ToolError

__all__ = ["PastFiles", "open_commit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PastFiles:
    """What a commit has below `source`; those files that were asked for are below `root`."""

    source: Path
    root: Path
    _top: Path
    _index: Path

    def bring(self, paths: Sequence[str]) -> None:
        """Write what the commit has at `paths` (files or folders, relative to `root`)."""
        listed = _git(self.source, "ls-files", "-z", "--", *paths, index=self._index)
        prefix = f"--prefix={self._top}/"
        _git(
            self.source, "checkout-index", "-z", "-f", "--stdin", prefix,
            index=self._index, data=listed,
        )  # fmt: skip


@contextlib.contextmanager
def open_commit(source: Path, commit: str) -> Iterator[PastFiles]:
    """Give the files of `commit` below `source`, a folder of a git repository, in the block.

    Raises `ToolError` `git.commit` if git hasn't that commit, or isn't there.
    """
    with tempfile.TemporaryDirectory(prefix="envbuild-commit-") as folder:
        index, top = Path(folder) / "index", Path(folder) / "files"
        below = _git(source, "rev-parse", "--show-prefix").decode().strip()
        named = _git(source, "rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}")
        _git(source, "read-tree", named.decode().strip(), index=index)
        root = top / below
        root.mkdir(parents=True)
        yield PastFiles(source=source, root=root, _top=top, _index=index)


def _git(folder: Path, *words: str, index: Path | None = None, data: bytes | None = None) -> bytes:
    # `git commit`, which hooks are children of, names its own index; ours is another.
    variables = {k: v for k, v in os.environ.items() if k != "GIT_INDEX_FILE"}
    if index is not None:
        variables["GIT_INDEX_FILE"] = str(index)
    argv = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(argv, input=data, capture_output=True, check=False, env=variables)
    except FileNotFoundError:
        raise ToolError(
            "git.commit", "git isn't installed, so no commit can be read", hint="install `git`"
        ) from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ").rstrip(".")
        raise ToolError(
            "git.commit",
            f"git can't show `{words[-1]}`: {said}",
            hint="in CI, fetch the whole history: `fetch-depth: 0` of `actions/checkout`, or "
            '`GIT_DEPTH: "0"` on GitLab',
        )
    return done.stdout
