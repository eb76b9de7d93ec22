"""The door to the sessions: purposeful errors become messages, bugs stay bugs."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from envbuild.errors import EnvbuildError
from envbuild.sessions.annotate import annotate
from envbuild.sessions.answer import list_errors
from envbuild.sessions.context import Context
from envbuild.sessions.interrupt import terminated_as_interrupted
from envbuild.sessions.table import SESSIONS

__all__ = ["guarded", "run_session"]


Fail = Callable[[str], NoReturn]
"""Ends the session with a message."""


def run_session(context: Context, fail: Fail) -> None:
    """Run the session that `context` names; `fail` gets the message of a purposeful error.

    Programs that read its output, and GitHub Actions, hear of that error, too.
    """
    module, _ = SESSIONS[context.name]
    answer = context.answer
    own = context.arguments[: _find_end(context.arguments)]
    answer.wanted = "--json" in own

    def work() -> None:
        try:
            importlib.import_module(f"envbuild.sessions.{module}").run(context)
        except SystemExit as stop:  # with a code of a script's own, which is no error of ours
            if stop.code not in (0, None):
                answer.print_failed([])
            raise
        answer.print_done()

    def report(error: EnvbuildError) -> None:
        errors = list_errors(error, answer.environment)
        answer.print_failed(errors)
        annotate(errors, context.root)

    guarded(work, fail, report=report)


def _find_end(arguments: Sequence[str]) -> int:
    """Return where those arguments end that are not a script's."""
    return arguments.index("--") if "--" in arguments else len(arguments)


def guarded(
    work: Callable[[], None],
    fail: Fail,
    *,
    report: Callable[[EnvbuildError], None] = lambda _: None,
) -> None:
    """Run `work`; an `EnvbuildError` goes to `report`, then to `fail`, without a traceback."""
    if "logging" in sys.modules:  # else nobody has set it up: it shows warnings only
        _quieten()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name need not be text: show its bytes
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with terminated_as_interrupted():
            work()
    except EnvbuildError as error:
        report(error)
        fail(str(error))
    except SystemExit as stop:  # 0 after --help; else a script's exit code, which is Nox's then
        if stop.code not in (0, None):
            raise
    except BrokenPipeError as error:  # as in `nox -s train | head`: nobody reads on
        _close_stdout()
        raise SystemExit(_PIPE_CODE) from error
    except OSError as error:
        refused = _explain(error)
        if refused is None:
            raise
        report(refused)
        fail(str(refused))


def _quieten() -> None:
    import logging

    for library in _TALKATIVE:
        logging.getLogger(library).setLevel(logging.WARNING)


def _close_stdout() -> None:
    """Have what Python still wants to write at its end go nowhere, without a complaint."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _explain(error: OSError) -> EnvbuildError | None:
    """Say what the operating system refused, and where; None if it may well be a bug."""
    hint = None
    if error.errno is not None and error.filename:
        message = f"`{error.filename}`: {error.strerror}"
    # A write that fails does not say where; `tempfile` has no folder left to name.
    elif error.errno in _FULL or "temporary directory" in str(error.strerror):
        message, hint = f"a file can't be written: {error.strerror}", _FULL_HINT
    else:
        return None
    return EnvbuildError(_CODES.get(error.errno or 0, "system.error"), message, hint=hint)


_TALKATIVE = ("asyncio", "docker", "urllib3")
"""Libraries whose debugging messages Nox would show: it lets every logger through."""

_PIPE_CODE = 141
"""128 + SIGPIPE: what a shell says of a program that the signal ended."""

_CODES = {
    errno.EACCES: "system.permission",
    errno.ENOSPC: "system.disk-full",
    errno.EROFS: "system.read-only",
    errno.EDQUOT: "system.quota",
}

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_FULL_HINT = (
    "to see which disk is full, run `df`; "
    "name other folders with the variables `TMPDIR` and `ENVBUILD_CACHE`"
)
