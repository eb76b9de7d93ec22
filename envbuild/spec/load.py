"""Finds the environments of a repository and loads their specs, `envs/NAME.toml`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from envbuild.errors import SpecError
from envbuild.kit.files import read_plain
from envbuild.spec.chain import FindFile, compose, find_chain, locate_problems
from envbuild.spec.curated import (
    RESERVED,
    find_curated,
    name_curated,
    read_curated,
)
from envbuild.spec.formats import ENVIRONMENT_NAME
from envbuild.spec.keys import find_nearest
from envbuild.spec.model import EnvSpec
from envbuild.spec.phrases import join_names
from envbuild.spec.reader import read_draft
from envbuild.spec.rules import check_rules

__all__ = [
    "check_name",
    "find_environments",
    "finder",
    "load_curated",
    "load_spec",
    "parse_spec",
]

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
            hint="to change one of those, copy it under a name of your own, or extend it: "
            f"run `mv envs/{name}.toml envs/{own}.toml`",
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
    """Load the spec at `path`, which is `.../envs/NAME.toml`, with all that it extends.

    Raises `SpecError`: `spec.name`, `spec.missing`, `spec.unreadable`, and those of `parse_spec`.
    """
    where = f"{path.parent.name}/{path.name}"
    known = [name for name in _find_names(path.parent) if name != path.stem]
    check_name(path.stem, known=known)
    find = finder(path.parent.parent)
    data = find(where)
    if data is None:
        message = f"`{where}` does not exist"
        raise SpecError("spec.missing", message, hint=_suggest_environment(path, known))
    return parse_spec(data, where=where, find=find)


def load_curated(name: str, *, root: Path) -> EnvSpec:
    """Load an environment that comes with the package, on the defaults of the repository at `root`.

    Raises `SpecError`: `spec.missing`, and those of `parse_spec`.
    """
    data = read_curated(name)
    if data is None:
        known = f"these come with envbuild: {join_names(list(find_curated()))}"
        message = f"no environment that comes with envbuild has the name `{name}`"
        raise SpecError("spec.missing", message, hint=known)
    return parse_spec(data, where=name_curated(name), find=finder(root))


def finder(root: Path) -> FindFile:
    """Return what reads the files of the repository at `root`.

    It raises `SpecError` `spec.unreadable` where the system refuses.
    """

    def find(place: str) -> bytes | None:
        try:
            return read_plain(root / place)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if place == "pyproject.toml":
                return None  # whoever loads the settings says so
            message = f"`{place}` can't be read: {error.strerror}"
            hint = f"see what it is and whose it is with `ls -ld {place}`"
            raise SpecError("spec.unreadable", message, hint=hint) from None

    return find


def _suggest_environment(path: Path, known: list[str]) -> str:
    nearest = find_nearest(path.stem, known)
    if nearest:
        return f"did you mean `{nearest}`?"
    if known:
        return f"the environments here are {join_names(known)}"
    return f"create it with at least the line `{_SMALLEST}`"


def parse_spec(data: bytes, *, where: str, find: FindFile = lambda _: None) -> EnvSpec:
    """Return the spec that the bytes of a TOML file hold, with all that it extends.

    `where` names the file in messages, and `find` gives the repository's other files. Raises
    `SpecError`: `spec.encoding`, `spec.syntax`, `spec.empty`, `spec.extends`, and `spec.invalid`
    with all problems in `problems`, also those that are in a parent or in the defaults.
    """
    sources = find_chain(data, where=where, find=find)
    table, problems = compose(sources)
    if not table:
        hint = f"the least that a spec says is the version of Python: `{_SMALLEST}`"
        raise SpecError("spec.empty", f"`{where}` is empty", hint=hint)
    draft = read_draft(EnvSpec, table)
    told = {problem.key for problem in problems}
    problems += [problem for problem in draft.problems if problem.key not in told]
    problems += check_rules(draft.value, doubtful=draft.doubtful)
    if problems:
        raise SpecError(
            "spec.invalid",
            f"`{where}` has {'a problem' if len(problems) == 1 else f'{len(problems)} problems'}",
            problems=locate_problems(problems, sources, table),
        )
    return draft.value
