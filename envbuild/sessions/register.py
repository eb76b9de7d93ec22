"""Registers envbuild's sessions with Nox: the one call that a noxfile makes.

This module is imported each time that Nox reads the noxfile, so it imports next to nothing and
reads no file; each session imports what it needs when it runs.
"""

from __future__ import annotations

from pathlib import Path

import nox

from envbuild.sessions.table import SESSIONS

__all__ = ["register"]


def register(root: str | Path | None = None) -> None:
    """Register the sessions for the repository at `root` (default: the noxfile's folder).

    Call it once in `noxfile.py`. All sessions take environment names after `--`, and `--help`.
    """
    # Nox has changed into the noxfile's folder before it runs the file.
    place = Path(root) if root is not None else Path.cwd()
    for name, (_, summary) in SESSIONS.items():
        _register(name, summary, place.resolve())


def _register(name: str, summary: str, root: Path) -> None:
    def body(session: nox.Session) -> None:
        from envbuild.sessions.context import Context
        from envbuild.sessions.guard import run_session

        context = Context(
            name=name, root=root, arguments=tuple(session.posargs), call=f"nox -s {name} --"
        )
        run_session(context, session.error)

    body.__doc__ = summary
    nox.session(name=name, venv_backend="none", default=False, tags=["envbuild"])(body)
