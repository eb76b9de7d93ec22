"""What a session says to programs: one JSON document on standard output, also where it failed.

A session that was called with `--json` and did what it was asked prints its own document. One that
failed prints `{"errors": [...], "done": ...}`: what went wrong, and its document as far as it got.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from envbuild.errors import EnvbuildError, Problem, SpecError
from envbuild.sessions.many import ManyError

__all__ = ["Answer", "list_errors"]


@dataclass(slots=True)
class Answer:
    """The document of one session, printed when it ends if programs are to read it (`wanted`).

    `environment` is the one that the session is about, if it is about one.
    """

    wanted: bool = False
    document: object = None
    environment: str | None = None

    def print_done(self) -> None:
        """Print the session's own document, if it has one."""
        if self.wanted and self.document is not None:
            _print(self.document)

    def print_failed(self, errors: list[dict[str, Any]]) -> None:
        """Print what went wrong, and the document as far as it got, if programs are to read it."""
        if self.wanted:
            _print({"errors": errors, "done": self.document})


def _print(document: object) -> None:
    print(json.dumps(document, indent=2), flush=True)


def list_errors(error: EnvbuildError, environment: str | None = None) -> list[dict[str, Any]]:
    """Return each single error as a JSON object; `environment` is that of a lone one."""
    return [_describe(name or environment, one) for name, one in _split(error)]


def _split(error: EnvbuildError) -> Iterator[tuple[str | None, EnvbuildError]]:
    if isinstance(error, ManyError):
        yield from error.errors.items()
    else:
        yield error.environment, error


def _describe(environment: str | None, error: EnvbuildError) -> dict[str, Any]:
    problems = error.problems if isinstance(error, SpecError) else ()
    return {
        "environment": environment,
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "problems": [_describe_problem(problem) for problem in problems],
    }


def _describe_problem(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "key": problem.key,
        "message": problem.message,
    }
