"""Finds the environments that extend others, and what an edit of a parent means for them."""

from __future__ import annotations

from collections.abc import Mapping

from envbuild.errors import EnvbuildError, SpecError
from envbuild.kit.progress import Progress
from envbuild.lock.request import digest_request
from envbuild.spec.toml import parse_toml
from envbuild.workspace.workspace import Workspace

__all__ = ["ask_heirs", "find_changed", "find_heirs"]

Asked = Mapping[str, Mapping[str, str] | str]
"""By environment: the digests of what its spec asks for, or what it says that can't be read."""


def ask_heirs(workspace: Workspace, name: str) -> Asked:
    """Return what the environments ask for that extend `name`."""
    return {heir: _ask(workspace, heir) for heir in sorted(find_heirs(workspace, {name}))}


def _ask(workspace: Workspace, name: str) -> Mapping[str, str] | str:
    try:
        return digest_request(workspace.load(name))
    except SpecError as error:
        return str(error)


def find_changed(workspace: Workspace, before: Asked, progress: Progress) -> tuple[str, ...]:
    """Return which environments ask for something else than `before`.

    `progress` hears of those that can't be read any more.
    """
    changed = {name: now for name in before if (now := _ask(workspace, name)) != before[name]}
    for name, now in changed.items():
        if isinstance(now, str):
            progress.note(f"{name}: with that change, {now}")
    return tuple(changed)


def find_heirs(workspace: Workspace, names: set[str]) -> set[str]:
    """Return the environments that extend one of `names`, at whatever distance."""
    if not names:
        return set()
    parents = {name: _read_parent(workspace, name) for name in workspace.environments}
    heirs: set[str] = set()
    while more := {c for c, p in parents.items() if p in names | heirs and c not in names | heirs}:
        heirs |= more
    return heirs


def _read_parent(workspace: Workspace, name: str) -> str | None:
    """Return what a spec extends; who reads the whole of it will say if it can't be read."""
    try:
        data = workspace.repository.spec_file(name).read_bytes()
        _, table = parse_toml(data, where=name) if b"extends" in data else ("", {})
    except (OSError, EnvbuildError):
        return None
    parent = table.get("extends")
    return parent if isinstance(parent, str) else None
