"""Every message of the rules and the readers is in the expected text of at least one wrong spec.

Messages are found in the source, not in a list: all texts with two words side by side, but for
docstrings, patterns, and the names and examples that formats have for the schema. What only the
settings can get wrong is held against a wrong table of settings, below.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from envbuild.spec.reader import read_table
from envbuild.spec.settings import Settings
from tests.spec.golden import INVALID

SPEC: Final = Path(__file__).parents[2] / "envbuild" / "spec"
MODULES: Final = sorted(
    [*SPEC.glob("rules/*.py"), *SPEC.glob("formats/*.py")]
    + [SPEC / f"{name}.py" for name in ("chain", "phrases", "reader", "toml", "unknown")]
)

SETTINGS: Final = {
    "repository": "registry.example.com/team/",
    "registries": {"https://registry.example.com": {}, "registry": {}},
    "debian-archives": ["mirror.example.com/debian"],
    "conda": "",
}
"""Settings of formats that no spec has."""

NEVER: Final = {
    "no source tree: ",  # of an exception that says that the code is wrong, not a spec
    "an argument",  # any text can be one
    "Illegal character '.n'",  # tomli's words, by which a hint is found
    "a value that JSON has too",  # any value can be one; what JSON lacks is named by itself
}
"""Texts that no spec can get."""


def find_pieces(path: Path) -> Iterator[tuple[int, str]]:
    """Give line and text of each constant piece of a message."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = {id(constant) for node in ast.walk(tree) for constant in _find_silent(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = re.search(r"\w\w+ [`\w]\w", node.value)
            if words and not re.search(r"\\|\(\?|\[\^", node.value) and id(node) not in silent:
                yield node.lineno, node.value


def _find_silent(node: ast.AST) -> Iterator[ast.AST]:
    """Give the constants below `node` that no message has: docstrings, and what isn't shown."""
    if isinstance(node, ast.Expr):
        yield node.value
    if isinstance(node, ast.keyword) and node.arg in {"name", "examples", "pattern"}:
        yield from ast.walk(node.value)


def read_texts() -> str:
    """Return all that is said of the wrong specs, and of the wrong settings."""
    said = [path.read_text(encoding="utf-8") for path in sorted(INVALID.glob("*.txt"))]
    _, problems = read_table(Settings, SETTINGS)
    return "\n".join([*said, *map(str, problems)])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SPEC)))
def test_every_message_has_a_spec_that_gets_it(path: Path) -> None:
    said = read_texts()
    missing = [
        f"line {line}: {piece!r}" for line, piece in find_pieces(path)
        if piece.strip() not in said and piece not in NEVER
    ]  # fmt: skip
    assert missing == []


def test_messages_are_found() -> None:
    """The search finds something: more pieces than there are rules."""
    pieces = [piece for path in MODULES for _, piece in find_pieces(path)]
    assert len(pieces) > 150
    assert "expected each package once, and " in pieces
