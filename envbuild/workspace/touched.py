"""Tells which environments a commit's files are about, and what of theirs git doesn't have."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from envbuild.errors import EnvbuildError, LockError, SpecError
from envbuild.spec.curated import find_curated
from envbuild.workspace.heirs import find_heirs
from envbuild.workspace.workspace import Workspace

__all__ = ["check_tracked", "find_touched", "list_tracked"]


def find_touched(
    workspace: Workspace, files: Iterable[Path], *, locks: bool = True
) -> tuple[str, ...]:
    """Return the environments of `files`, sorted: of specs, of what extends them, and of `locks`.

    `pyproject.toml` is about all that git knows. A lock without a spec is there, too: whoever
    works on it says what is missing. Other files are about none.
    """
    paths = [_place(workspace.root, file) for file in files]
    specs = {path.stem for path in paths if _is_spec(path)}
    if Path("pyproject.toml") in paths:
        tracked = list_tracked(workspace.root)
        own = (workspace.repository.spec_file(name) for name in workspace.environments)
        specs |= {spec.stem for spec in own if tracked is None or spec in tracked}
    names = specs | find_heirs(workspace, specs)
    if locks:
        names |= {p.parts[1] for p in paths if len(p.parts) > 2 and p.parts[0] == "lockfiles"}
    return tuple(sorted(names))


def _place(root: Path, file: Path) -> Path:
    path = Path.cwd() / file
    return path.relative_to(root) if path.is_relative_to(root) else path


def _is_spec(path: Path) -> bool:
    return len(path.parts) == 2 and path.parts[0] == "envs" and path.suffix == ".toml"


def list_tracked(root: Path) -> frozenset[Path] | None:
    """Return the specs and lockfiles that git has or is about to have; None without git."""
    argv = ["git", "-C", str(root), "ls-files", "-z", "--", "envs", "lockfiles"]
    try:
        done = subprocess.run(argv, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    if done.returncode:
        return None
    names = done.stdout.decode(errors="surrogateescape").split("\0")
    return frozenset(root / name for name in names if name)


def check_tracked(workspace: Workspace, names: Sequence[str]) -> dict[str, EnvbuildError]:
    """Return, by environment, that a commit would lack a file of it: its spec, or of its lock."""
    tracked = list_tracked(workspace.root)
    errors: dict[str, EnvbuildError] = {}
    for name in names:
        folder = workspace.repository.lock_folder(name)
        if name not in (*workspace.environments, *find_curated()):
            errors[name] = SpecError(
                "spec.missing",
                f"`lockfiles/{name}` has no spec: there is no `envs/{name}.toml`",
                hint=f"to remove the lock, too, run `git rm -r lockfiles/{name}`",
            )
        elif tracked is not None and folder.is_dir():
            missing = sorted(path for path in folder.iterdir() if path not in tracked)
            if missing:
                place = missing[0].relative_to(workspace.root).as_posix()
                errors[name] = LockError(
                    "lock.untracked",
                    f"the commit would lack `{place}`, which git doesn't know",
                    hint=f"to add the lock, run `git add lockfiles/{name}`",
                )
    return errors
