"""A repository as it was at a git commit, to name its images as they were."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from envbuild.errors import EnvbuildError
from envbuild.kit.checkout import open_commit
from envbuild.workspace.workspace import Workspace

__all__ = ["open_past"]

_STATED = ("envs", "lockfiles", "pyproject.toml")
"""What says how images are made; most need no other file of the repository to be named."""


@contextlib.contextmanager
def open_past(root: Path, commit: str, names: Iterable[str]) -> Iterator[Workspace]:
    """Give the repository at `root` as `commit` has it, with what the images of `names` need.

    Raises `ToolError` `git.commit` if there is no such commit.
    """
    with open_commit(root, commit) as past:
        past.bring(_STATED)
        then = Workspace(root=past.root)
        if any(_needs_more(then, name) for name in names):
            past.bring(["."])
        yield then


def _needs_more(then: Workspace, name: str) -> bool:
    """Return whether an image is named by other files, too: sources, trees, a Dockerfile."""
    try:
        spec, lock = then.load(name), then.load_lock(name)
    except EnvbuildError:
        return False
    parts = lock.platforms.values()
    own = any(part.trees or any(s.kind == "file" for s in part.sources) for part in parts)
    return own or bool(spec.image.source) or spec.image.dockerfile is not None
