"""Rules on packages: each is asked for once, and of one manager."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from envbuild.errors import Problem
from envbuild.spec.formats import (
    find_conda_name,
    find_pip_name,
    has_marker,
    parse_direct,
    show_text,
)
from envbuild.spec.model import EnvSpec
from envbuild.spec.rules.rule import rule

__all__ = ["RULES"]


@rule("conda")
def conda_once(spec: EnvSpec) -> Iterator[Problem]:
    """A package is in `conda.dependencies` once, and Python not at all: its version is `python`."""
    dependencies = spec.conda.dependencies if spec.conda else ()
    yield from _find_twice("conda.dependencies", dependencies, find_conda_name, "numpy >=1.26,<3")
    yield from _find_python("conda.dependencies", dependencies, find_conda_name)


@rule("pip")
def pip_once(spec: EnvSpec) -> Iterator[Problem]:
    """A package is in `pip.dependencies` once, unless markers or platforms keep the two apart."""
    dependencies = spec.pip.dependencies
    yield from _find_twice("pip.dependencies", dependencies, find_pip_name, "numpy>=1.26,<3")
    yield from _find_python("pip.dependencies", dependencies, find_pip_name)


@rule("pip.overrides")
def override_once(spec: EnvSpec) -> Iterator[Problem]:
    """A package is in `pip.overrides` once, unless markers keep the two apart."""
    yield from _find_twice("pip.overrides", spec.pip.overrides, find_pip_name, "numpy>=1.26,<3")


def _find_twice(
    key: str, texts: tuple[str, ...], find_name: Callable[[str], str], example: str
) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for n, text in enumerate(texts):
        other = seen.setdefault(find_name(text), text)
        apart = key.startswith("pip") and _are_apart(text, other)
        if "".join(other.split()) != "".join(text.split()) and not apart:
            yield Problem(
                key=f"{key}[{n}]",
                message=(
                    f"expected each package once, and {show_text(text)} asks again for that of "
                    f"{show_text(other)}; write one text, such as `{example}`"
                ),
            )


def _are_apart(one: str, other: str) -> bool:
    """Say whether no machine takes both: they have markers, or are wheels for several machines."""
    found = [parse_direct(text) for text in (one, other)]
    wheels = all(direct is not None and direct.kind == "wheel" for direct in found)
    return wheels or (has_marker(one) and has_marker(other))


def _find_python(
    key: str, texts: tuple[str, ...], find_name: Callable[[str], str]
) -> Iterator[Problem]:
    for n, text in enumerate(texts):
        if find_name(text) == "python":
            yield Problem(
                key=f"{key}[{n}]",
                message=(
                    "Python's version is the key `python` at the top of the file, such as "
                    f'`python = "3.11.*"`; leave out {show_text(text)} here'
                ),
            )


# Of Python another rule speaks. On conda-forge `graphviz` is the program, and what pip calls so is
# `python-graphviz`.
_NAMESAKES: Final = frozenset({"graphviz", "python"})


@rule("conda", "pip")
def conda_or_pip(spec: EnvSpec) -> Iterator[Problem]:
    """A package is asked of conda or of pip, not of both: conda's would win without a word."""
    names = {
        find_conda_name(text): text for text in (spec.conda.dependencies if spec.conda else ())
    }
    for n, text in enumerate(spec.pip.dependencies):
        name = find_pip_name(text)
        if name in names and name not in _NAMESAKES:
            yield Problem(
                key=f"pip.dependencies[{n}]",
                message=(
                    f"expected each package from one place, and {show_text(text)} is also "
                    f"{show_text(names[name])} of `conda.dependencies`, which would win; "
                    "leave out one of the two"
                ),
            )


RULES: Final = (conda_once, pip_once, override_once, conda_or_pip)
