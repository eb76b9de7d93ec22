"""What pip makes of wheels, and in which ways envbuild may differ from it."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.corpus.trees import run

__all__ = ["install_with_pip", "judge_wheel", "remove_tree"]

_TOLD = re.compile(r"\.dist-info/(?:REQUESTED|direct_url\.json)$")
"""What pip tells of this one installation, and we don't."""


def install_with_pip(
    wheels: Sequence[Path], folder: Path, *, with_needs: bool = False
) -> tuple[Path, Path]:
    """Let pip install wheels for a virtual environment; return that, and the root of its files.

    `with_needs` lets it look at what they need, which must be among them, and so decides the order.
    """
    home = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    root = folder / "theirs"
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(home),
        "install",
        "--quiet",
        "--no-compile",
    ]
    command += ["--no-index", "--no-warn-script-location", "--root", str(root), *map(str, wheels)]
    command += [] if with_needs else ["--no-deps"]
    run(command, PIP_CONFIG_FILE=os.devnull, PIP_DISABLE_PIP_VERSION_CHECK="1")
    return home, root


def judge_wheel(path: str, mine: Path, other: Path) -> str:
    """Return in which documented way a file differs from pip's, or ""."""
    if _TOLD.search(path) and not mine.exists():
        return "wheel-told"
    if not (mine.is_file() and other.is_file()):
        return ""
    if mine.stat().st_mode != other.stat().st_mode:
        same = mine.read_bytes() == other.read_bytes()
        return "wheel-script-mode" if same and "/bin/" in path else ""
    ours, theirs = mine.read_bytes(), other.read_bytes()
    if path.endswith(".dist-info/INSTALLER"):
        return "wheel-installer" if (ours, theirs) == (b"envbuild\n", b"pip\n") else ""
    if path.endswith(".dist-info/RECORD"):
        return "wheel-record" if _rows(ours) == _rows(theirs) else ""
    if "/bin/" in path and _meaning(ours) == _meaning(theirs) != ():
        return "wheel-command"
    return ""


def _rows(record: bytes) -> set[tuple[str, str, str]]:
    """Return what both say: pip notes its own files, and hashes of commands and INSTALLER.

    A file that pip makes and the wheel had has two rows in pip's.
    """
    rows = [row for row in csv.reader(io.StringIO(record.decode())) if row]
    kept = set()
    for path, digest, size in rows:
        if _TOLD.search(path):
            continue
        generated = path.endswith(".dist-info/INSTALLER") or "../bin/" in path
        kept.add((path, "", "") if generated else (path, digest, size))
    return kept


def _meaning(script: bytes) -> tuple[object, ...]:
    """Return a command's interpreter, what it imports, and what it calls; () for no command."""
    text = script.decode(errors="replace")
    interpreter = re.fullmatch(r"#!(/\S+/bin/python)[\d.]*", text.partition("\n")[0])
    imported = re.findall(r"^\s*from .* import .*$", text, re.MULTILINE)
    called = re.findall(r"sys\.exit\(.*\)", text)
    return (interpreter[1], imported, called) if interpreter and called else ()


def remove_tree(folder: Path) -> None:
    """Remove an installation that is not needed any more: pytest keeps folders of three runs."""
    shutil.rmtree(folder, ignore_errors=True)
