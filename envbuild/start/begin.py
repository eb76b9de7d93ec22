"""Makes a folder a repository that uses envbuild, whatever is there already; changes nothing else.

Each step says what it did; what somebody else has written is never changed, only added to where
that can't break it (`.gitignore`, a table at the end of `pyproject.toml`).
"""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuild.errors import SpecError
from envbuild.kit.files import write_atomic
from envbuild.spec.load import find_environments
from envbuild.spec.phrases import join_names
from envbuild.spec.settings import load_settings, parse_settings
from envbuild.start.noxfile import LINES, NOXFILE, registers
from envbuild.start.scaffold import scaffold, write_schema

__all__ = ["Begun", "begin", "is_ignored"]

IGNORED: Final = ".envbuild/"

_FIRST: Final = "training"


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """What was done (`steps`), what a person has to do (`todo`), and the environments there are."""

    steps: tuple[str, ...]
    todo: tuple[str, ...]
    environments: tuple[str, ...]


def begin(
    root: Path, *, kind: str, name: str | None = None, repository: str | None = None
) -> Begun:
    """Have the folder `root` use envbuild; done twice, the second time changes nothing.

    An environment, `training` without a `name`, is written where there is none. Raises
    `SpecError`: `init.inside`, those of the settings, and those of `scaffold`.
    """
    _check_place(root)
    settings = load_settings(root)
    if repository is not None:
        parse_settings(_render_table(repository), where="--repository")
    steps: list[str] = []
    todo: list[str] = []
    # The environment first: a name or a kind that can't be leaves nothing behind.
    there = find_environments(root)
    if not there:
        steps += [f"wrote `{path}`" for path in scaffold(root, name or _FIRST, kind=kind)]
    else:
        steps += [f"wrote `{path}`" for path in write_schema(root)]
    noxfile = root / "noxfile.py"
    if not noxfile.exists():
        write_atomic(noxfile, NOXFILE)
        steps.append("wrote `noxfile.py`")
    elif not registers(noxfile):
        todo.append(f"add these lines to `noxfile.py`:\n\n{LINES.rstrip()}")
    if _ignore(root):
        steps.append(f"added `{IGNORED}` to `.gitignore`")
    if repository is not None and settings.repository != repository:
        _set_repository(root, repository, steps, todo)
    if name is not None and there and name not in there:
        todo.append(
            f"`{name}` was not written, for there is {join_names(list(there))} already; to have "
            f"it, too, run `nox -s scaffold -- {shlex.quote(name)} --from {kind}`"
        )
    return Begun(steps=tuple(steps), todo=tuple(todo), environments=find_environments(root))


def _check_place(root: Path) -> None:
    for folder in root.parents:
        if not (root / "noxfile.py").exists() and registers(folder / "noxfile.py"):
            raise SpecError(
                "init.inside",
                f"`{folder}` uses envbuild already, and this folder is part of it",
                hint=f"to add an environment there, run `cd {folder} && nox -s scaffold -- NAME`",
            )


def is_ignored(root: Path) -> bool:
    """Return whether git leaves `.envbuild/` alone; without git, whether `.gitignore` says so."""
    try:
        lines = (root / ".gitignore").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    if any(line.strip().strip("/") == IGNORED.strip("/") for line in lines):
        return True
    command = ["git", "-C", str(root), "check-ignore", "--quiet", f"{IGNORED}runs"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _ignore(root: Path) -> bool:
    if is_ignored(root):
        return False
    path = (root / ".gitignore").resolve()  # a link stays one
    before = path.read_bytes() if path.exists() else b""
    return write_atomic(path, _append(before, f"{IGNORED}\n"))


def _append(before: bytes, text: str) -> bytes:
    """Return a file's bytes with lines after them, which end as its own do."""
    ending = b"\r\n" if b"\r\n" in before else b"\n"
    gap = ending if before and not before.endswith(b"\n") else b""
    return before + gap + text.encode().replace(b"\n", ending)


def _render_table(repository: str) -> bytes:
    return f"[tool.envbuild]\nrepository = {json.dumps(repository)}\n".encode()


def _set_repository(root: Path, repository: str, steps: list[str], todo: list[str]) -> None:
    path = (root / "pyproject.toml").resolve()
    before = path.read_bytes() if path.exists() else b""
    line = f"repository = {json.dumps(repository)}"
    if b"tool.envbuild" in before:  # a person knows best where in it the line belongs
        todo.append(f"write under `[tool.envbuild]` of `pyproject.toml`:\n\n{line}")
        return
    gap = "\n" if before else ""
    data = _append(before, gap + _render_table(repository).decode())
    parse_settings(data, where="pyproject.toml")
    write_atomic(path, data)
    steps.append("added `[tool.envbuild]` to `pyproject.toml`")
