"""The noxfile of a repository: whether it registers envbuild's sessions, and one that does."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

__all__ = ["LINES", "NOXFILE", "registers"]

LINES: Final = "import envbuild\n\nenvbuild.register()\n"
"""What a noxfile needs."""

NOXFILE: Final = f'"""Tasks of this repository: `nox --list` shows them."""\n\n{LINES}'
"""A noxfile with nothing else in it."""


def registers(path: Path) -> bool:
    """Return whether the noxfile at `path` calls `envbuild.register`; the file isn't run.

    One that can't be parsed does where the text has the call.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return "envbuild.register(" in text
    names = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "envbuild"
        for alias in node.names
        if alias.name == "register"
    }
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "envbuild"
    }
    return any(
        _calls(node, names, modules) for node in ast.walk(tree) if isinstance(node, ast.Call)
    )


def _calls(call: ast.Call, names: set[str], modules: set[str]) -> bool:
    match call.func:
        case ast.Name(id=name):
            return name in names
        case ast.Attribute(value=ast.Name(id=module), attr="register"):
            return module in modules
    return False
