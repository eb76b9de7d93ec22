"""Check an entry script without running it: what the scoring server would refuse at its start.

The rules are those of azureml-inference-server-http 1.5 (`server/user_script.py`): module-level
`init()` and `run()`; `run` without positional-only parameters, `*args` and `**kwargs`, with at
least one parameter besides `request_headers`, and undecorated with no second required one.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["SERVER", "Check", "check_entry_script"]

SERVER: Final = "azureml-inference-server-http"
"""The distribution that serves entry scripts."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at; `detail` says what is wrong, or what was seen."""

    name: str
    passed: bool
    detail: str = ""
    ms: float | None = None


def check_entry_script(
    path: Path, *, packages: AbstractSet[str], python_minor: str | None = None
) -> tuple[Check, ...]:
    """Return the checks of an entry script and of the packages it needs to be served.

    `packages` are the names of the locked distributions in any spelling; `python_minor` is the
    environment's Python (`3.11`). Code for a newer Python than this process's isn't parsed.
    """
    locked = _check_server(packages)
    if not path.is_file():
        name = "entry script is there"
        return (Check(name=name, passed=False, detail=f"`{path}` doesn't exist"), locked)
    parsed, tree = _parse(path, _as_version(python_minor))
    if tree is None:
        return (parsed, locked)
    bound = _find_bindings(tree)
    return (parsed, _check_init(bound), _check_run(bound), locked)


def _check_server(packages: AbstractSet[str]) -> Check:
    there = SERVER in {re.sub(r"[-_.]+", "-", name).lower() for name in packages}
    detail = "" if there else f"add `{SERVER}` to `pip.dependencies` and lock again"
    return Check(name="scoring server is locked", passed=there, detail=detail)


def _as_version(minor: str | None) -> tuple[int, int]:
    numbers = re.match(r"(\d+)\.(\d+)", minor or "")
    return (int(numbers[1]), int(numbers[2])) if numbers else sys.version_info[:2]


def _parse(path: Path, version: tuple[int, int]) -> tuple[Check, ast.Module | None]:
    name = "entry script parses"
    newer = version > sys.version_info[:2]
    try:
        source = path.read_bytes()
        tree = ast.parse(
            source, filename=path.name, feature_version=min(version, sys.version_info[:2])
        )
    except SyntaxError as error:
        if newer:
            detail = f"not checked: it may need Python {version[0]}.{version[1]}"
            return Check(name=name, passed=True, detail=detail), None
        detail = f"{path.name}, line {error.lineno}: {error.msg}"
        return Check(name=name, passed=False, detail=detail), None
    except (OSError, ValueError) as error:
        return Check(name=name, passed=False, detail=f"{path.name}: {error}"), None
    return Check(name=name, passed=True), tree


def _find_bindings(tree: ast.Module) -> dict[str, ast.stmt]:
    """Return the last statement at module level that binds each name; `*` for a star import."""
    return {name: node for node in _statements(tree.body) for name in _names_of(node)}


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run on import: also those within `if`, `try`, `with` and loops."""
    for node in body:
        yield node
        if isinstance(node, Function | ast.ClassDef):
            continue
        for field in ("body", "orelse", "finalbody"):
            inner = getattr(node, field, None)
            if isinstance(inner, list):
                yield from _statements(inner)
        for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            yield from _statements(part.body)


def _names_of(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, Function | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.split(".")[0]
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))


def _check_init(bound: dict[str, ast.stmt]) -> Check:
    problem = _find_lack("init", bound)
    node = bound.get("init")
    if problem is None and isinstance(node, Function) and not node.decorator_list:
        required = [p.arg for p, has_default in _parameters(node) if not has_default]
        if required:
            problem = f"init() is called without arguments, but needs `{required[0]}`"
        elif isinstance(node, ast.AsyncFunctionDef):
            problem = "init() must not be `async`: the server doesn't await it"
    return Check(name="init() is there", passed=problem is None, detail=problem or "")


def _check_run(bound: dict[str, ast.stmt]) -> Check:
    problem = _find_lack("run", bound)
    node = bound.get("run")
    if problem is None and isinstance(node, Function) and not node.decorator_list:
        problem = _find_run_problem(node)
    return Check(name="run(data) is there", passed=problem is None, detail=problem or "")


def _find_lack(name: str, bound: dict[str, ast.stmt]) -> str | None:
    if name in bound or "*" in bound:
        return None
    return f"the script defines no {name}() at module level"


def _find_run_problem(node: Function) -> str | None:
    arguments = node.args
    if arguments.posonlyargs or arguments.vararg or arguments.kwarg:
        return "run() must not have positional-only parameters, *args or **kwargs"
    given = [(p, d) for p, d in _parameters(node) if p.arg != "request_headers"]
    if not given:
        return "run() needs a parameter for the data"
    required = [p.arg for p, has_default in given[1:] if not has_default]
    if required:
        return f"run() gets the data alone, but also needs `{required[0]}`"
    if isinstance(node, ast.AsyncFunctionDef):
        return "run() must not be `async`: the server doesn't await it"
    return None


def _parameters(node: Function) -> list[tuple[ast.arg, bool]]:
    """Return the parameters but `*args` and `**kwargs`, each with whether it has a default."""
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    first = len(positional) - len(arguments.defaults)
    pairs = [(arg, index >= first) for index, arg in enumerate(positional)]
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return [*pairs, *((arg, default is not None) for arg, default in keywords)]
