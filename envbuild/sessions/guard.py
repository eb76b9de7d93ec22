"""The door between Nox and the sessions: purposeful errors become messages, bugs stay bugs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nox

from envbuild.errors import EnvbuildError
from envbuild.sessions.context import Context

__all__ = ["guarded"]


def guarded(session: nox.Session, name: str, root: Path, work: Callable[[Context], None]) -> None:
    """Run `work`; an `EnvbuildError` ends the session with its message and no traceback."""
    try:
        work(Context(name=name, root=root, arguments=tuple(session.posargs)))
    except EnvbuildError as error:
        session.error(str(error))
    except SystemExit as stop:  # argparse: 0 after --help, 2 for wrong arguments
        if stop.code not in (0, None):
            session.error(f"`nox -s {name}` can't take these arguments [session.arguments]")
    except OSError as error:
        if error.errno is None or not error.filename:
            raise
        session.error(_describe(error))


def _describe(error: OSError) -> str:
    """Say what the operating system refused, and where; disk full is the usual one."""
    return f"`{error.filename}`: {error.strerror} [system.{_CODES.get(error.errno or 0, 'error')}]"


_CODES = {13: "permission", 28: "disk-full", 30: "read-only", 122: "quota"}
