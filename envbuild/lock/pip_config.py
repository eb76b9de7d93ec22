"""Reads pip's own configuration: from its files where those are known, else from pip itself.

To start pip for `pip config list` takes longer than uv takes to resolve, and it prints what several
files say in the order of their names, not of their rank. Where the files are and which one counts
is in pip's documentation ("Configuration"); that is followed on Linux. Elsewhere, and for a file
that can't be read, pip is asked.
"""

from __future__ import annotations

import ast
import configparser
import locale
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from envbuild.kit.process import run_tool

__all__ = ["list_settings"]


def list_settings(logs: Path) -> Mapping[str, str]:
    """Return the settings of pip for this interpreter, by `SECTION.NAME`.

    Raises `ToolError` if pip itself fails.
    """
    if sys.platform == "linux":
        try:
            return _read_all()
        except (configparser.Error, UnicodeError, OSError):
            pass  # pip says what is wrong with it
    return _ask_pip(logs)


def _read_all() -> dict[str, str]:
    found: dict[str, str] = {}
    for file in _list_files():
        if file.exists():
            found |= _read(file)
    variables = (item for item in os.environ.items() if item[0].startswith("PIP_"))
    own = {_normalise(name.removeprefix("PIP_")): value for name, value in variables}
    return found | {f":env:.{n}": v for n, v in own.items() if n not in {"version", "help"}}


def _list_files() -> Iterator[Path]:
    """Give the places of pip's files; what a later one says counts."""
    named = os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    for folder in (os.environ.get("XDG_CONFIG_DIRS", "").strip() or "/etc/xdg").split(os.pathsep):
        yield Path(folder).expanduser() / "pip" / "pip.conf"
    yield Path("/etc/pip.conf")
    if not (named and Path(named).exists()):
        yield Path.home() / ".pip" / "pip.conf"
        home = os.environ.get("XDG_CONFIG_HOME", "").strip() or "~/.config"
        yield Path(home).expanduser() / "pip" / "pip.conf"
    yield Path(sys.prefix) / "pip.conf"
    if named:
        yield Path(named)


def _read(file: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    with file.open(encoding=locale.getpreferredencoding(do_setlocale=False)) as lines:
        parser.read_file(lines)
    return {
        f"{section}.{_normalise(name)}": value
        for section in parser.sections()
        for name, value in parser.items(section)
    }


def _normalise(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


def _ask_pip(logs: Path) -> dict[str, str]:
    argv = [sys.executable, "-m", "pip", "--no-input", "--no-color", "config", "list"]
    lines = run_tool(argv, tool="pip", logs=logs).splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key: str(ast.literal_eval(value)) for key, _, value in pairs}
