"""The sessions without Nox, for hooks and for scripts: what `envbuild SESSION ARGUMENTS` does.

It does what `nox -s SESSION -- ARGUMENTS` does, without the time that Nox takes to start and to
read a noxfile, and where there is no noxfile.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final, NoReturn

from envbuild.errors import SpecError
from envbuild.sessions.table import SESSIONS

__all__ = ["dispatch"]

_HERE: Final = frozenset({"init"})
"""Sessions that are about the folder they are called in, whatever is above it."""


def dispatch(words: Sequence[str]) -> int:
    """Run the session that the first word names; return the exit code."""
    if not words or words[0] in {"-h", "--help"}:
        print(_render_help())
        return 0 if words else 2
    if words[0] == "--version":
        from envbuild.version import __version__

        print(f"envbuild {__version__}")
        return 0
    name, *rest = words
    if name not in SESSIONS:
        near = get_close_matches(name, SESSIONS, n=1)
        error = SpecError(
            "session.unknown",
            f"there is no session `{name}`",
            hint=f"did you mean `envbuild {near[0]}`?" if near else "to see all, run `envbuild -h`",
        )
        print(f"error: {error}", file=sys.stderr)
        return 3
    return _run(name, rest[1:] if rest[:1] == ["--"] else rest)


def _run(name: str, arguments: Sequence[str]) -> int:
    from envbuild.sessions.context import Context
    from envbuild.sessions.guard import run_session
    from envbuild.workspace.workspace import find_root

    root = Path.cwd() if name in _HERE else find_root(Path.cwd())
    context = Context(name=name, root=root, arguments=tuple(arguments), call=f"envbuild {name}")
    try:
        run_session(context, _fail)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(1)


def _render_help() -> str:
    width = max(map(len, SESSIONS))
    return "\n".join(
        [
            "usage: envbuild SESSION [ARGUMENTS]",
            "",
            "Does what `nox -s SESSION -- ARGUMENTS` does, without Nox. Each has `--help`.",
            "",
            *(f"  {name:{width}}  {summary}" for name, (_, summary) in SESSIONS.items()),
        ]
    )
