"""Rules on what runs in the image: the training script and the service with its requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from envbuild.errors import Problem
from envbuild.spec.formats import show_text
from envbuild.spec.model import EnvSpec
from envbuild.spec.model_running import Request
from envbuild.spec.rules.rule import rule

__all__ = ["RULES"]


@rule("train.script")
def train_script_is_python(spec: EnvSpec) -> Iterator[Problem]:
    """`train.script` is a Python file."""
    if spec.train:
        yield from _check_python_file("train.script", spec.train.script, "train.py")


@rule("smoke.entry-script")
def entry_script_is_python(spec: EnvSpec) -> Iterator[Problem]:
    """`smoke.entry-script` is a Python file."""
    if spec.smoke and spec.smoke.entry_script:
        yield from _check_python_file("smoke.entry-script", spec.smoke.entry_script, "score.py")


def _check_python_file(key: str, path: str, example: str) -> Iterator[Problem]:
    if not path.endswith(".py"):
        message = f"expected a file whose name ends in `.py`, such as `{example}`, not"
        yield Problem(key=key, message=f"{message} {show_text(path)}")


@rule("smoke.entry-script", "smoke.command")
def one_way_to_serve(spec: EnvSpec) -> Iterator[Problem]:
    """`smoke` has one of `entry-script` and `command`, and not both."""
    if spec.smoke is None or (spec.smoke.entry_script is None) != (spec.smoke.command is None):
        return
    found = "neither is" if spec.smoke.command is None else "both are"
    yield Problem(
        key="smoke",
        message=(
            'expected either `entry-script`, such as `"score.py"`, or `command`, such as '
            f'`["uvicorn", "app:app", "--port", "5001"]`; {found} there'
        ),
    )


@rule("smoke.command")
def command_is_words(spec: EnvSpec) -> Iterator[Problem]:
    """`smoke.command` is a list of words, not one text with spaces."""
    command = (spec.smoke and spec.smoke.command) or ()
    if len(command) == 1 and " " in command[0].strip():
        words = ", ".join(f'"{word}"' for word in command[0].split())
        yield Problem(
            key="smoke.command",
            message=f"expected each word of the command as a text of its own, such as `[{words}]`",
        )


@rule("smoke.request")
def requests_are_clear(spec: EnvSpec) -> Iterator[Problem]:
    """A request has `json` or `body`, not both; `HEAD` gets no body; a tolerance is for `json`."""
    for n, request in enumerate(spec.smoke.request if spec.smoke else ()):
        for key, message in _check_request(request):
            yield Problem(key=f"smoke.request[{n}].{key}", message=message)


_HEAD_HAS_NO_BODY: Final = (
    "expected nothing of the body, for a response to `HEAD` has none; "
    "leave it out, or use another method, such as `GET`"
)


def _check_request(request: Request) -> Iterator[tuple[str, str]]:
    expect = request.expect
    if request.json is not None and request.body is not None:
        yield "body", "expected one body, either `json` or `body`; leave out one of the two"
    if request.method == "HEAD":
        for key, wanted in (("json", expect.json), ("contains", expect.contains)):
            if wanted is not None:
                yield f"expect.{key}", _HEAD_HAS_NO_BODY
    if expect.tolerance and expect.json is None:
        yield (
            "expect.tolerance",
            "expected only beside `expect.json`, whose numbers it is for, such as `json = [0.5]`",
        )


RULES: Final = (
    train_script_is_python,
    entry_script_is_python,
    one_way_to_serve,
    command_is_words,
    requests_are_clear,
)
