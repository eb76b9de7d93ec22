"""Finds the environments of a repository and loads their specs, `envs/NAME.toml`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from envbuild.errors import Problem, SpecError
from envbuild.spec.formats import ENVIRONMENT_NAME
from envbuild.spec.keys import find_nearest, parse_key
from envbuild.spec.lines import find_lines
from envbuild.spec.model import EnvSpec
from envbuild.spec.phrases import join_names
from envbuild.spec.reader import read_draft
from envbuild.spec.rules import check_rules
from envbuild.spec.toml import parse_toml

__all__ = [
    "RESERVED",
    "check_name",
    "find_environments",
    "load_spec",
    "locate_problems",
    "parse_spec",
]

RESERVED: Final = "envbuild-"
"""How the names of the environments begin that come with the package."""

_SMALLEST: Final = 'python = "3.11.*"'


def find_environments(root: Path) -> tuple[str, ...]:
    """Return the names of the environments below `root`, sorted; reads no file.

    A name is whatever stands before `.toml`: `load_spec` says whether it can be one.
    """
    return _find_names(root / "envs")


def _find_names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(p.stem for p in folder.glob("*.toml") if not p.name.startswith(".")))


def check_name(name: str, *, known: Iterable[str] = ()) -> None:
    """Raise `SpecError` (`spec.name`) if `name` can't be an environment's name.

    `known` are the names to suggest from.
    """
    if name.startswith(RESERVED) and re.fullmatch(ENVIRONMENT_NAME.pattern, name):
        own = f"my-{name.removeprefix(RESERVED)}"
        raise SpecError(
            "spec.name",
            f"`{name}` is reserved: names that begin with `{RESERVED}` are those of the "
            "environments that come with envbuild",
            hint=f"to make it your own, run `cp envs/{name}.toml envs/{own}.toml`",
        )
    problem = ENVIRONMENT_NAME.check(name)
    if problem:
        message = f"an environment can't have that name: {problem}"
        raise SpecError("spec.name", message, hint=_suggest_name(name, known))


def _suggest_name(name: str, known: Iterable[str]) -> str:
    bare = name.removesuffix(".toml").rpartition("/")[2]
    nearest = find_nearest(bare, known)
    if nearest and nearest != name:
        return f"did you mean `{nearest}`?"
    better = "-".join(re.findall(r"[a-z0-9]+", bare.lower()))
    if better and not better.startswith(RESERVED):
        return f"to give it a name that is right, run `mv 'envs/{bare}.toml' envs/{better}.toml`"
    return "give its file another name, such as `envs/cpu-training.toml`"


def load_spec(path: Path) -> EnvSpec:
    """Load the spec at `path`, which is `.../envs/NAME.toml`.

    Raises `SpecError`: `spec.name`, `spec.missing`, `spec.unreadable`, and those of `parse_spec`.
    """
    where = f"{path.parent.name}/{path.name}"
    known = [name for name in _find_names(path.parent) if name != path.stem]
    check_name(path.stem, known=known)
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        message = f"`{where}` does not exist"
        raise SpecError("spec.missing", message, hint=_suggest_environment(path, known)) from None
    except OSError as error:
        message = f"`{where}` can't be read: {error.strerror}"
        hint = f"see what it is and whose it is with `ls -ld {where}`"
        raise SpecError("spec.unreadable", message, hint=hint) from None
    return parse_spec(data, where=where)


def _suggest_environment(path: Path, known: list[str]) -> str:
    nearest = find_nearest(path.stem, known)
    if nearest:
        return f"did you mean `{nearest}`?"
    if known:
        return f"the environments here are {join_names(known)}"
    return f"create it with at least the line `{_SMALLEST}`"


def parse_spec(data: bytes, *, where: str) -> EnvSpec:
    """Return the spec that the bytes of a TOML file hold; `where` names the file in messages.

    Raises `SpecError`: `spec.encoding`, `spec.syntax`, `spec.empty`, and `spec.invalid` with all
    problems of the file in `problems`.
    """
    text, table = parse_toml(data, where=where)
    if not table:
        hint = f"the least that a spec says is the version of Python: `{_SMALLEST}`"
        raise SpecError("spec.empty", f"`{where}` is empty", hint=hint)
    draft = read_draft(EnvSpec, table)
    problems = [*draft.problems, *check_rules(draft.value, doubtful=draft.doubtful)]
    if problems:
        raise SpecError(
            "spec.invalid",
            f"`{where}` has {'a problem' if len(problems) == 1 else f'{len(problems)} problems'}",
            problems=locate_problems(problems, text, where=where),
        )
    return draft.value


def locate_problems(problems: list[Problem], text: str, *, where: str) -> tuple[Problem, ...]:
    """Return `problems` with the file and their lines in its `text`, in the order of the lines."""
    lines = find_lines(text, {parse_key(problem.key) for problem in problems})
    located = (
        dataclasses.replace(p, file=where, line=lines.get(parse_key(p.key))) for p in problems
    )
    return tuple(sorted(located, key=lambda problem: problem.line or 0))
