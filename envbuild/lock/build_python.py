"""Finds a Python of the right minor version on this machine, to build packages with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Final

from envbuild.errors import LockError

__all__ = ["find_python"]

_PROBE: Final = (
    "import platform, sys, venv; print('%d.%d' % sys.version_info[:2], platform.python_version(), "
    "platform.python_implementation())"
)


def find_python(minor: str, *, package: str) -> tuple[str, str]:
    """Return the path and the full version of a CPython `minor` (`3.11`) of this machine.

    This process's own, one on `PATH`, or one of pyenv's. Raises `LockError` `pip.no-python`;
    `package` is what was to be built.
    """
    found = _search(minor, os.environ.get("PATH", ""))
    if found is None:
        raise LockError(
            "pip.no-python",
            f"`{package}` is built from source with Python {minor}, and this machine has no "
            f"`python{minor}`",
            hint=f"install `python{minor}`, or build on a machine that has it",
        )
    return found


@lru_cache(maxsize=8)
def _search(minor: str, folders: str) -> tuple[str, str] | None:
    name = f"python{minor}"
    candidates = [Path(folder) / name for folder in folders.split(os.pathsep) if folder]
    if minor == f"{sys.version_info.major}.{sys.version_info.minor}":
        candidates.insert(0, Path(sys.executable))
    candidates += _find_pyenv(minor)
    for candidate in candidates:
        if os.access(candidate, os.X_OK) and (version := _probe(candidate, minor)):
            return str(candidate), version
    return None


def _find_pyenv(minor: str) -> list[Path]:
    """Return pyenv's Pythons, newest first: its entries on `PATH` are scripts that may refuse."""
    found = Path.home().glob(f".pyenv/versions/{minor}.*/bin/python{minor}")
    return sorted(found, key=lambda p: [int(n) for n in re.findall(r"\d+", str(p))], reverse=True)


def _probe(executable: Path, minor: str) -> str:
    """Return the full version of an interpreter that starts and is the wanted one, else ""."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    try:
        answer = subprocess.run(
            [str(executable), "-I", "-c", _PROBE],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    words = answer.stdout.split()
    right = answer.returncode == 0 and len(words) == 3 and words[::2] == [minor, "CPython"]
    return words[1] if right else ""
