"""What no key can say alone: the rules between the keys of a spec.

A rule names the keys it reads, so that it is left out where one of them has a problem of its own:
a contradiction with a value that is about to change would only confuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from envbuild.errors import Problem
from envbuild.spec.derive import find_debian_python, find_interpreter, find_suite
from envbuild.spec.formats import (
    find_conda_name,
    find_pip_name,
    has_marker,
    parse_base,
    parse_python,
    show_text,
)
from envbuild.spec.keys import KeyPath, overlaps, parse_key
from envbuild.spec.model import EnvSpec, Request
from envbuild.spec.phrases import join_names
from envbuild.spec.platforms import PLATFORMS

__all__ = ["RULES", "Rule", "check_rules"]

Check = Callable[[EnvSpec], Iterator[Problem]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One rule: the places it reads, and the check, whose docstring says the rule to users."""

    reads: tuple[KeyPath, ...]
    check: Check


RULES: Final[list[Rule]] = []
"""All rules, in the order in which they are checked."""


def check_rules(spec: EnvSpec, *, doubtful: Sequence[KeyPath] = ()) -> list[Problem]:
    """Return what contradicts itself in `spec`, without the rules that read a doubtful place."""
    return [
        problem
        for rule in RULES
        if not any(overlaps(place, key) for place in doubtful for key in rule.reads)
        for problem in rule.check(spec)
    ]


def _rule(*keys: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        RULES.append(Rule(reads=tuple(parse_key(key) for key in keys), check=check))
        return check

    return register


@_rule("platforms", "conda")
def _conda_beyond_linux(spec: EnvSpec) -> Iterator[Problem]:
    """Other platforms than Linux take Python from conda, for a base image is always Linux."""
    others = [name for name in spec.platforms if not PLATFORMS[name].has_image]
    if others and spec.conda is None:
        yield Problem(
            key="platforms",
            message=(
                f"expected only platforms of Linux, such as `linux-64`, or a table `[conda]`: "
                f"{join_names(others)} can take Python from nowhere else"
            ),
        )


@_rule("image.base", "conda")
def _scratch_needs_conda(spec: EnvSpec) -> Iterator[Problem]:
    """The base `scratch` is empty, so Python comes from conda."""
    if spec.image.base == "scratch" and spec.conda is None:
        yield Problem(
            key="image.base",
            message=(
                "`scratch` has no Python; add a table `[conda]`, which brings one, "
                "or take another base, such as `debian:bookworm`"
            ),
        )


@_rule("image.base", "image.interpreter", "conda", "python")
def _one_python(spec: EnvSpec) -> Iterator[Problem]:
    """Without `[conda]`, a registry's image needs `image.interpreter`; with it, none has one."""
    if spec.conda is not None:
        if spec.image.interpreter is not None:
            yield Problem(
                key="image.interpreter",
                message=(
                    "expected no interpreter of the base, for `[conda]` brings Python; "
                    "leave out one of the two"
                ),
            )
    elif parse_base(spec.image.base).kind == "registry" and find_interpreter(spec) is None:
        yield Problem(
            key="image.interpreter",
            message=(
                f"missing; say where Python is in {show_text(spec.image.base)}, such as "
                '`interpreter = "/usr/local/bin/python3"`, or add a table `[conda]`, which '
                "brings one"
            ),
        )


@_rule("image.base", "conda", "python")
def _debian_python(spec: EnvSpec) -> Iterator[Problem]:
    """Without `[conda]`, `python` is the minor version that the base has, and no more."""
    if spec.conda is not None:
        return
    request = parse_python(spec.python)
    suite = parse_base(spec.image.base).suite
    has = find_debian_python(suite) if suite else None
    if has and has != request.minor:
        yield Problem(
            key="python",
            message=(
                f"expected `{has}.*`, which `debian:{suite}` has, not {show_text(spec.python)}; "
                "or add a table `[conda]`, which brings any version"
            ),
        )
    elif request.narrow:
        yield Problem(
            key="python",
            message=(
                f"expected a minor version, such as `{request.minor}.*`, not "
                f"{show_text(spec.python)}, for the base decides the rest; or add a table "
                "`[conda]`, which brings any version"
            ),
        )


@_rule("image.base", "system")
def _packages_have_a_suite(spec: EnvSpec) -> Iterator[Problem]:
    """`system.packages` come from the suite of `image.base`, or of `system.suite` if it has none."""
    suite = parse_base(spec.image.base).suite
    if suite and spec.system.suite and suite != spec.system.suite:
        yield Problem(
            key="system.suite",
            message=(
                f"expected `{suite}`, as `image.base` has it, not {show_text(spec.system.suite)}; "
                "leave it out, or change the base"
            ),
        )
    if spec.system.packages and find_suite(spec) is None:
        yield Problem(
            key="system.suite",
            message=(
                f"missing; {show_text(spec.image.base)} does not say where Debian packages come "
                'from, so add a line such as `suite = "bookworm"`'
            ),
        )


@_rule("system.packages", "platforms")
def _packages_need_linux(spec: EnvSpec) -> Iterator[Problem]:
    """`system.packages` need a platform of Linux."""
    if spec.system.packages and not any(PLATFORMS[name].debian for name in spec.platforms):
        yield Problem(
            key="system.packages",
            message=(
                "expected no Debian packages where no platform is Linux; leave them out, "
                "or add a platform such as `linux-64`"
            ),
        )


@_rule("conda")
def _conda_once(spec: EnvSpec) -> Iterator[Problem]:
    """A package is in `conda.dependencies` once, and Python not at all: its version is `python`."""
    dependencies = spec.conda.dependencies if spec.conda else ()
    yield from _find_twice("conda.dependencies", dependencies, find_conda_name, "numpy >=1.26,<3")
    yield from _find_python("conda.dependencies", dependencies, find_conda_name)


@_rule("pip")
def _pip_once(spec: EnvSpec) -> Iterator[Problem]:
    """A package is in `pip.dependencies` once, unless markers keep the two apart."""
    dependencies = spec.pip.dependencies
    yield from _find_twice("pip.dependencies", dependencies, find_pip_name, "numpy>=1.26,<3")
    yield from _find_python("pip.dependencies", dependencies, find_pip_name)


def _find_twice(
    key: str, texts: tuple[str, ...], find_name: Callable[[str], str], example: str
) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for n, text in enumerate(texts):
        other = seen.setdefault(find_name(text), text)
        apart = key.startswith("pip") and has_marker(text) and has_marker(other)
        if "".join(other.split()) != "".join(text.split()) and not apart:
            yield Problem(
                key=f"{key}[{n}]",
                message=(
                    f"expected each package once, and {show_text(text)} asks again for that of "
                    f"{show_text(other)}; write one text, such as `{example}`"
                ),
            )


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


# On conda-forge `graphviz` is the program and `python-graphviz` what pip calls `graphviz`.
_NAMESAKES: Final = frozenset({"graphviz"})


@_rule("conda", "pip")
def _conda_or_pip(spec: EnvSpec) -> Iterator[Problem]:
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


@_rule("train.script")
def _train_script_is_python(spec: EnvSpec) -> Iterator[Problem]:
    """`train.script` is a Python file."""
    if spec.train:
        yield from _check_python_file("train.script", spec.train.script, "train.py")


@_rule("smoke.entry-script")
def _entry_script_is_python(spec: EnvSpec) -> Iterator[Problem]:
    """`smoke.entry-script` is a Python file."""
    if spec.smoke and spec.smoke.entry_script:
        yield from _check_python_file("smoke.entry-script", spec.smoke.entry_script, "score.py")


def _check_python_file(key: str, path: str, example: str) -> Iterator[Problem]:
    if not path.endswith(".py"):
        message = f"expected a file whose name ends in `.py`, such as `{example}`, not"
        yield Problem(key=key, message=f"{message} {show_text(path)}")


@_rule("smoke.entry-script", "smoke.command")
def _one_way_to_serve(spec: EnvSpec) -> Iterator[Problem]:
    """`smoke` has one of `entry-script` and `command`, and not both."""
    if spec.smoke is None or (spec.smoke.entry_script is None) != (spec.smoke.command is None):
        return
    found = "neither" if spec.smoke.command is None else "both"
    yield Problem(
        key="smoke",
        message=(
            'expected either `entry-script`, such as `"score.py"`, or `command`, such as '
            f'`["uvicorn", "app:app", "--port", "5001"]`; {found} is there'
        ),
    )


@_rule("smoke.command")
def _command_is_words(spec: EnvSpec) -> Iterator[Problem]:
    """`smoke.command` is a list of words, not one text with spaces."""
    command = (spec.smoke and spec.smoke.command) or ()
    if len(command) == 1 and " " in command[0].strip():
        words = ", ".join(f'"{word}"' for word in command[0].split())
        yield Problem(
            key="smoke.command",
            message=f"expected each word of the command as a text of its own, such as `[{words}]`",
        )


@_rule("smoke.request")
def _requests_are_clear(spec: EnvSpec) -> Iterator[Problem]:
    """A request has a `json` or a `body`, not both; of a `HEAD` no body is expected."""
    for n, request in enumerate(spec.smoke.request if spec.smoke else ()):
        for key, message in _check_request(request):
            yield Problem(key=f"smoke.request[{n}].{key}", message=message)


def _check_request(request: Request) -> Iterator[tuple[str, str]]:
    expect = request.expect
    if request.json is not None and request.body is not None:
        yield "body", "expected one body, either `json` or `body`; leave out one of the two"
    if request.method == "HEAD":
        for key, wanted in (("json", expect.json), ("contains", expect.contains)):
            if wanted is not None:
                yield (
                    f"expect.{key}",
                    "expected nothing of the body, for a response to `HEAD` has none; "
                    "leave it out, or use another method, such as `GET`",
                )
    if expect.tolerance and expect.json is None:
        yield (
            "expect.tolerance",
            "expected only beside `expect.json`, whose numbers it is for, such as `json = [0.5]`",
        )
