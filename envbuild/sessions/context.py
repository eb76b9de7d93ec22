"""What every session works with: its arguments, and the repository with all that it says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from envbuild.errors import SpecError
from envbuild.sessions.answer import Answer
from envbuild.spec.curated import DEFAULT
from envbuild.workspace.workspace import Workspace

__all__ = ["Context", "make_parser"]


@dataclass(frozen=True, kw_only=True)
class Context(Workspace):
    """The workspace of one session, and its arguments."""

    name: str
    arguments: tuple[str, ...]
    call: str
    """How it was called: what stands before the arguments."""
    answer: Answer = field(default_factory=Answer)
    """What programs get to read of it."""

    def select(self, names: Sequence[str]) -> tuple[str, ...]:
        """Do as the workspace does; where there is no environment at all, take the smallest."""
        return super().select(names) or (self._take(DEFAULT),)

    def select_one(self, name: str | None) -> str:
        """Return the environment that was named, else the repository's default or only one.

        In a repository that has none it is one that comes with envbuild: the only one that is
        locked here, else the smallest.
        """
        self.answer.environment = found = self._choose(name)
        return found

    def _choose(self, name: str | None) -> str:
        if name is not None:
            name = self.find_name(name)
            self.check_known(name)
            return name
        if self.settings.default_environment is not None:
            origin = ", the `default-environment` of `pyproject.toml`"
            self.check_known(self.settings.default_environment, origin)
            return self.settings.default_environment
        names = self.environments or self.used
        if not self.environments and len(names) < 2:
            return self._take(names[0] if names else DEFAULT)
        if len(names) == 1:
            return names[0]
        known = ", ".join(f"`{n}`" for n in names)
        raise SpecError(
            "session.which",
            f"`nox -s {self.name}` needs the name of an environment (there are: {known})",
            hint=f"run `nox -s {self.name} -- NAME`, or set `default-environment` under "
            "`[tool.envbuild]` in `pyproject.toml`",
        )

    def _take(self, name: str) -> str:
        note = (
            f"no environment is named and there is none in `envs/`; taking `{name}` "
            "(to make one of your own, run `envbuild init`)"
        )
        print(note, file=sys.stderr, flush=True)
        return name


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors of ours, not an exit."""

    def error(self, message: str) -> NoReturn:
        raise SpecError(
            "session.arguments",
            f"`{self.prog.removesuffix(' --')}`: {message}",
            hint=f"to see what it takes, run `{self.prog} --help`",
        )


def make_parser(context: Context, description: str) -> argparse.ArgumentParser:
    """Return a parser whose help shows the session as it is called."""
    return _Parser(prog=context.call, description=description, allow_abbrev=False)
