"""Which files of a source folder count, and what git says of them."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

__all__ = ["GitState", "Listing", "find_git_state", "list_files"]

NEVER: Final = frozenset({".git", ".envbuild"})
"""Names left out at every depth: the repository itself, and what envbuild writes."""
USUALLY_NOT: Final = NEVER | {".venv", "__pycache__", "node_modules", ".nox"}
"""Names left out where no git says what is ignored."""

_CLOSED: Final = re.compile(rb"^warning: could not open directory '(.+?)/?': ", re.MULTILINE)
"""What git says of a folder that it passes over, and then succeeds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GitState:
    """The commit that the source folder was at, and if anything in it differs from it."""

    commit: str | None
    dirty: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """Paths relative to the folder, with `/`, sorted; `git` is False where the plain rule held.

    `note` says why git could not be asked, where there may be a repository: what it ignores is
    among the paths.
    """

    paths: tuple[str, ...]
    git: bool
    note: str | None = None


def list_files(folder: Path) -> Listing:
    """List the files and links of `folder` that belong to a snapshot.

    Inside of a git repository: what git tracks and what it doesn't ignore, as
    `git ls-files --cached --others --exclude-standard` says. Else: everything but `.venv`,
    `__pycache__`, `node_modules` and `.nox`. Never `.git` and `.envbuild`. Raises `OSError`, with
    the name, for a folder that can't be read: what is in it would be left out unnoticed.
    """
    answer = _run_git(folder, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    if answer is None or answer.returncode != 0:
        return Listing(paths=tuple(sorted(_walk(folder, ""))), git=False, note=_explain(answer))
    if closed := _CLOSED.search(answer.stderr):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(closed[1]))
    names = {os.fsdecode(name) for name in answer.stdout.split(b"\0") if name}
    paths = {path for name in names for path in _expand(folder, name)}
    return Listing(paths=tuple(sorted(paths)), git=True)


def _explain(answer: subprocess.CompletedProcess[bytes] | None) -> str | None:
    """Say why git could not be asked, unless it is simply no repository."""
    if answer is None:
        return "git is not installed"
    said = answer.stderr.decode(errors="replace")
    if "not a git repository" in said:
        return None
    first = next(iter(said.strip().splitlines()), "no reason given")
    return f"git refused to list the files ({first})"


def _expand(folder: Path, name: str) -> Iterator[str]:
    """Yield the path itself, or the files of a repository within the repository."""
    clean = name.rstrip("/")
    path = folder / clean
    if NEVER.intersection(PurePosixPath(clean).parts):
        return
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return  # git still has it
    if stat.S_ISDIR(mode):
        inner = list_files(path).paths if (path / ".git").exists() else _walk(path, "")
        yield from (f"{clean}/{item}" for item in inner)
    else:
        yield clean


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    with os.scandir(folder / prefix) as entries:
        for entry in entries:
            if entry.name in USUALLY_NOT:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder, f"{prefix}{entry.name}/")
            else:
                yield f"{prefix}{entry.name}"


def find_git_state(folder: Path) -> GitState | None:
    """Return the state of the git repository that `folder` is in; None if it is in none."""
    status = _run_git(folder, "status", "--porcelain", "--untracked-files=normal", "--", ".")
    if status is None or status.returncode != 0:
        return None
    head = _run_git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    commit = head.stdout.decode().strip() if head is not None and head.returncode == 0 else None
    return GitState(commit=commit, dirty=bool(status.stdout.strip()))


def _run_git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes] | None:
    # A hook that runs us sets GIT_DIR and the like, which would be about another repository.
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    argv: Sequence[str] = ("git", "-C", str(folder), *arguments)
    try:
        return subprocess.run(
            argv,
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env={**env, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except FileNotFoundError:
        return None
