"""What a check finds, and what it is given to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

from envbuild.errors import EnvbuildError, SpecError
from envbuild.kit.retry import Patience
from envbuild.spec.model import EnvSpec
from envbuild.spec.settings import Settings
from envbuild.workspace.workspace import Workspace

__all__ = ["Check", "Finding", "State", "Visit", "describe", "say_names"]

State: TypeAlias = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing, how it is, and how to mend it if it isn't well."""

    subject: str
    state: State = "ok"
    message: str
    hint: str | None = None


@dataclass(frozen=True, kw_only=True)
class Visit:
    """The repository and machine that are looked at; what can't be read counts as not there."""

    workspace: Workspace
    patience: Patience = field(default_factory=lambda: Patience(attempts=1, connect=5.0, read=8.0))

    @cached_property
    def settings(self) -> Settings:
        try:
            return self.workspace.settings
        except SpecError:  # the check of the repository says so
            return Settings()

    @cached_property
    def specs(self) -> Mapping[str, EnvSpec]:
        """The specs that are right, by name."""
        found: dict[str, EnvSpec] = {}
        for name in self.workspace.environments:
            try:
                found[name] = self.workspace.load(name)
            except SpecError:
                continue
        return found

    def find(self, wanted: Callable[[EnvSpec], object]) -> list[str]:
        """Return the environments whose spec is as `wanted`."""
        return [name for name, spec in self.specs.items() if wanted(spec)]


Check = Callable[[Visit], Iterator[Finding]]
"""Looks at one part of the world. An `EnvbuildError` that it raises is a problem, too."""


def describe(subject: str, error: EnvbuildError, *, state: State = "problem") -> Finding:
    """Return the finding that an error is."""
    message = error.message
    if isinstance(error, SpecError) and error.problems:
        message += ": " + "; ".join(str(problem) for problem in error.problems)
    return Finding(subject=subject, state=state, message=message, hint=error.hint)


def say_names(names: list[str]) -> str:
    """Return some names as a message has them: the first three, and how many more."""
    shown = ", ".join(f"`{name}`" for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
