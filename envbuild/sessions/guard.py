"""The door to the sessions: purposeful errors become messages, bugs stay bugs."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

from envbuild.errors import EnvbuildError
from envbuild.sessions.context import Context
from envbuild.sessions.table import SESSIONS

__all__ = ["guarded", "run_session"]


def run_session(context: Context, fail: Callable[[str], NoReturn]) -> None:
    """Run the session that `context` names; `fail` gets the message of a purposeful error."""
    module, _ = SESSIONS[context.name]
    guarded(lambda: importlib.import_module(f"envbuild.sessions.{module}").run(context), fail)


def guarded(work: Callable[[], None], fail: Callable[[str], NoReturn]) -> None:
    """Run `work`; an `EnvbuildError` goes to `fail`, without a traceback."""
    for library in _TALKATIVE:
        logging.getLogger(library).setLevel(logging.WARNING)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name need not be text: show its bytes
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _terminated_as_interrupted():
            work()
    except EnvbuildError as error:
        fail(str(error))
    except SystemExit as stop:  # 0 after --help; else a script's exit code, which is Nox's then
        if stop.code not in (0, None):
            raise
    except BrokenPipeError as error:  # as in `nox -s train | head`: nobody reads on
        _close_stdout()
        raise SystemExit(_PIPE_CODE) from error
    except OSError as error:
        said = _describe(error)
        if said is None:
            raise
        fail(said)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Take SIGTERM, by which CI systems cancel, for a Ctrl-C: clean up, then end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _close_stdout() -> None:
    """Have what Python still wants to write at its end go nowhere, without a complaint."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _describe(error: OSError) -> str | None:
    """Say what the operating system refused, and where; None if it may well be a bug."""
    code = f" [system.{_CODES.get(error.errno or 0, 'error')}]"
    if error.errno is not None and error.filename:
        return f"`{error.filename}`: {error.strerror}{code}"
    # A write that fails does not say where; `tempfile` has no folder left to name.
    if error.errno in _FULL or "temporary directory" in str(error.strerror):
        return f"a file can't be written: {error.strerror}{code}\n\n{_FULL_HINT}"
    return None


_TALKATIVE = ("asyncio", "docker", "urllib3")
"""Libraries whose debugging messages Nox would show: it lets every logger through."""

_PIPE_CODE = 141
"""128 + SIGPIPE: what a shell says of a program that the signal ended."""

_CODES = {
    errno.EACCES: "permission",
    errno.ENOSPC: "disk-full",
    errno.EROFS: "read-only",
    errno.EDQUOT: "quota",
}

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_FULL_HINT = (
    "hint: to see which disk is full, run `df`; "
    "name other folders with the variables `TMPDIR` and `ENVBUILD_CACHE`"
)
