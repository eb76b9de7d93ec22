"""Tells which environments are other images now than they were at a git commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from envbuild.errors import EnvbuildError
from envbuild.image.plan import EnvironmentPlan
from envbuild.workspace.past import open_past
from envbuild.workspace.plans import plan_named
from envbuild.workspace.workspace import Workspace

__all__ = ["find_changed"]


def find_changed(root: Path, plans: Sequence[EnvironmentPlan], *, commit: str) -> Mapping[str, str]:
    """Return, by name, why an environment is another image than at `commit`.

    `new` was not there, `changed` had another digest, or none because it could not be built.
    What doesn't move the digest, such as comments, doesn't count. Raises `ToolError`
    `git.commit` if there is no such commit.
    """
    with open_past(root, commit, [plan.name for plan in plans]) as then:
        known = set(then.used)
        return {
            plan.name: "changed" if plan.name in known else "new"
            for plan in plans
            if plan.name not in known or plan.digest != _find_digest(then, plan.name)
        }


def _find_digest(then: Workspace, name: str) -> str | None:
    try:
        return plan_named(then, name).digest
    except EnvbuildError:
        return None
