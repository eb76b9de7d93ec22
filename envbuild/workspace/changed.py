"""Tells which environments are other images now than they were at a git commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from envbuild.errors import EnvbuildError
from envbuild.image.plan import EnvironmentPlan
from envbuild.kit.checkout import open_commit
from envbuild.spec.load import find_environments
from envbuild.workspace.plans import plan_named
from envbuild.workspace.workspace import Workspace

__all__ = ["find_changed"]

_STATED = ("envs", "lockfiles", "pyproject.toml")
"""What says how images are made; most need no other file of the repository to be named."""


def find_changed(root: Path, plans: Sequence[EnvironmentPlan], *, commit: str) -> Mapping[str, str]:
    """Return, by name, why an environment is another image than at `commit`.

    `new` was not there, `changed` had another digest, or none because it could not be built.
    What doesn't move the digest, such as comments, doesn't count. Raises `ToolError`
    `git.commit` if there is no such commit.
    """
    with open_commit(root, commit) as past:
        past.bring(_STATED)
        then = Workspace(root=past.root)
        known = set(find_environments(past.root))
        if any(_needs_more(then, plan.name) for plan in plans if plan.name in known):
            past.bring(["."])
        return {
            plan.name: "changed" if plan.name in known else "new"
            for plan in plans
            if plan.name not in known or plan.digest != _find_digest(then, plan.name)
        }


def _needs_more(then: Workspace, name: str) -> bool:
    """Return whether an image is named by other files, too: trees, wheels, a Dockerfile."""
    try:
        spec, lock = then.load(name), then.load_lock(name)
    except EnvbuildError:
        return False
    parts = lock.platforms.values()
    own = any(part.trees or any(s.kind == "file" for s in part.sources) for part in parts)
    return own or spec.image.dockerfile is not None


def _find_digest(then: Workspace, name: str) -> str | None:
    try:
        return plan_named(then, name).digest
    except EnvbuildError:
        return None
