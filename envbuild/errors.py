"""Every error that envbuild raises on purpose: a message, a stable code, and what to do next.

A purposeful error never shows a traceback: the sessions turn it into one line and a hint.
Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "EngineError",
    "EnvbuildError",
    "ImageError",
    "LockError",
    "Problem",
    "RegistryError",
    "RunError",
    "SpecError",
    "ToolError",
]


class EnvbuildError(Exception):
    """The base of all purposeful errors.

    `code` is stable and greppable (`lock.stale`); `docs/errors.md` explains each one.
    `message` is one sentence with backticks round names and no full stop (Nox adds one).
    `hint` says what to do next, with a command to paste wherever there is one.
    `environment` is the one that it is about, where many were worked on.
    """

    environment: str | None = None

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.message} [{self.code}]"
        return f"{text}\n\nhint: {self.hint}" if self.hint else text


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong in a file: where (a dotted key, "" for the whole file) and what.

    `line` is where the value begins, from 1, if that is known; `file` is its path below the root,
    and `inherited` says that it is another one than the error is about.
    """

    key: str
    message: str
    line: int | None = None
    file: str | None = None
    inherited: bool = False

    def __str__(self) -> str:
        line = f" (line {self.line})" if self.line else ""
        where = f" of `{self.file}`" if self.inherited else ""
        return f"`{self.key}`{where}{line}: {self.message}" if self.key else self.message


class SpecError(EnvbuildError):
    """A spec or the repository's settings can't be used; holds all problems of the file."""

    def __init__(
        self, code: str, message: str, *, problems: Sequence[Problem] = (), hint: str | None = None
    ) -> None:
        super().__init__(code, message, hint=hint)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        lines = [f"{self.message} [{self.code}]", *(f"  - {p}" for p in self.problems)]
        text = "\n".join(lines)
        return f"{text}\n\nhint: {self.hint}" if self.hint else text


class LockError(EnvbuildError):
    """A lock is missing, stale, damaged, or can't be made."""


class ImageError(EnvbuildError):
    """An image can't be assembled or isn't what it should be."""


class RegistryError(EnvbuildError):
    """A registry can't be reached, refuses, or answers something it should not."""


class EngineError(EnvbuildError):
    """The container engine is missing, too old, or refuses."""


class RunError(EnvbuildError):
    """A training run or a service could not be started or didn't end well."""


class ToolError(EnvbuildError):
    """A tool that envbuild calls is missing or failed; its whole output is kept in a file."""
