"""The command `envbuild SESSION ARGUMENTS`: the door to the sessions without Nox.

All else is imported behind it, where an interruption is waited for: of a short session, most of the
time goes into imports.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from envbuild.sessions.interrupt import terminated_as_interrupted

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the session that the first argument names; return the exit code.

    The codes are those of Nox: 0, 1 for a session that failed, 3 for one that doesn't exist,
    130 for Ctrl-C and SIGTERM; a script's own for `train`.
    """
    try:
        with terminated_as_interrupted():
            from envbuild.sessions.dispatch import dispatch

            return dispatch(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
