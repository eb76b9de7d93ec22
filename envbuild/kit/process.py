"""Runs a tool as a child process: its output is kept, its whole group ends with us."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any, Final
from urllib.parse import quote

from envbuild.errors import ToolError
from envbuild.kit.disk import disk_errors
from envbuild.kit.urls import strip_credentials

__all__ = ["ToolExitError", "open_child", "run_tool", "stop_tools"]

GRACE: Final = 3.0
"""Seconds that a child has to end by itself after SIGTERM."""

_BUSY_PAUSES: Final = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between attempts to start a program that is still being written."""

_running: set[subprocess.Popen[Any]] = set()
_guard = threading.Lock()


class ToolExitError(ToolError):
    """A tool ended with another code than 0 (`returncode`; negative: the signal that killed it).

    `output` is its stdout and stderr with secrets hidden; the file `log` holds the same.
    """

    def __init__(
        self, code: str, message: str, *, returncode: int, output: str, log: Path, hint: str
    ) -> None:
        super().__init__(code, message, hint=hint)
        self.returncode = returncode
        self.output = output
        self.log = log


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ended:
    """How a child ended."""

    returncode: int
    stdout: str
    stderr: str


def run_tool(
    argv: Sequence[str],
    *,
    tool: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    logs: Path,
    secrets: Sequence[str] = (),
) -> str:
    """Run `argv` to its end and return its stdout (UTF-8; other bytes are replaced).

    `tool` is its name in messages and in the log's file name; `env` is the child's whole
    environment (None: ours); it gets no stdin. `secrets` are hidden wherever output is kept, and
    so are credentials in URLs. On Ctrl-C, or whatever else ends the wait, the child's whole
    process group is ended first. In a thread, that needs `stop_tools` from the main one.

    Raises `ToolError` `tool.missing` or `tool.refused` (it can't be started), and `ToolExitError`
    `tool.failed`, its output whole in a new file below `logs`.
    """
    ended = _run(argv, tool=tool, env=env, cwd=cwd)
    if ended.returncode == 0:
        return ended.stdout
    output = _hide("\n".join(t for t in (ended.stdout, ended.stderr) if t), secrets)
    command = _hide(shlex.join(argv), secrets)
    log = _keep(f"$ {command}\n{_say(ended.returncode)}\n\n{output}", tool=tool, logs=logs)
    raise _failed(ended.returncode, output, tool=tool, log=log)


def _failed(returncode: int, output: str, *, tool: str, log: Path) -> ToolExitError:
    return ToolExitError(
        "tool.failed",
        f"`{tool}` {_say(returncode)}; its output is in `{log}`{_quote_end(output)}",
        returncode=returncode,
        output=output,
        log=log,
        hint=f"to see all it said, run `cat {shlex.quote(str(log))}`",
    )


@contextlib.contextmanager
def open_child(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stderr: IO[bytes] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Give a child that talks over its stdin and stdout; its whole group ends with the block.

    It hears nothing of Ctrl-C itself, and `stop_tools` ends it. `env` is its whole environment,
    `cwd` where it runs, and `stderr` an open file; None stands for ours. Raises `OSError` where it
    can't be started.
    """
    child: subprocess.Popen[bytes] | None = None
    try:
        with _hold_ctrl_c(), _guard:
            child = _spawn(argv, env=env, cwd=cwd, stderr=stderr)
            _running.add(child)
        yield child
    finally:
        if child is not None:
            with _hold_ctrl_c():
                _end_group(child)
            _forget(child)


def _spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    stderr: IO[bytes] | None,
) -> subprocess.Popen[bytes]:
    """Start a child. A program that was just written may be busy for a moment.

    A child that another thread starts meanwhile holds the file open until it becomes a program
    itself (`ETXTBSY`).
    """
    for pause in (*_BUSY_PAUSES, None):
        try:
            return subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            if error.errno != errno.ETXTBSY or pause is None:
                raise
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def stream_tool(
    argv: Sequence[str],
    *,
    tool: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    logs: Path,
    secrets: Sequence[str] = (),
    on_line: Callable[[str], object] | None = None,
) -> Path:
    """Run `argv` to its end and return the file below `logs` that holds all it said.

    Its stdout and stderr, as one, go to that file and to `on_line` line by line as they come (of a
    line that is drawn over, each state is one), with secrets hidden. Everything else is as for
    `run_tool`, the errors too; the log stays after success, for who wants it.
    """
    command = _hide(shlex.join(argv), secrets)
    log = _keep(f"$ {command}\n", tool=tool, logs=logs)
    with (
        _running_child(argv, tool=tool, env=env, cwd=cwd, stderr=subprocess.STDOUT) as child,
        disk_errors(log),
        log.open("a", encoding="utf-8") as file,
    ):
        for line in child.stdout or ():
            shown = _hide(line.rstrip("\r\n"), secrets)
            file.write(shown + "\n")
            file.flush()
            if on_line is not None:
                on_line(shown)
        child.wait()
    if child.returncode:
        output = log.read_text(encoding="utf-8").partition("\n")[2]
        raise _failed(child.returncode, output, tool=tool, log=log)
    return log


def stop_tools() -> None:
    """End every child of `run_tool` and `open_child`, in whichever thread; for Ctrl-C."""
    with _guard:
        children = list(_running)
    for child in children:
        _signal_group(child, signal.SIGTERM)
    for child in children:
        _end_group(child)


def _run(
    argv: Sequence[str], *, tool: str, env: Mapping[str, str] | None, cwd: Path | None
) -> _Ended:
    with _running_child(argv, tool=tool, env=env, cwd=cwd, stderr=subprocess.PIPE) as child:
        stdout, stderr = child.communicate()
    return _Ended(returncode=child.returncode, stdout=stdout, stderr=stderr)


@contextlib.contextmanager
def _running_child(
    argv: Sequence[str],
    *,
    tool: str,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    stderr: int,
) -> Iterator[subprocess.Popen[str]]:
    """Give a child that is ended, with its whole group, where the block ends with an error."""
    child: subprocess.Popen[str] | None = None
    try:
        # The child may run before `Popen` has returned, and neither Ctrl-C nor `stop_tools` would
        # find it then.
        with _hold_ctrl_c(), _guard:
            child = _start(argv, tool=tool, env=env, cwd=cwd, stderr=stderr)
            _running.add(child)
        yield child
    except BaseException:
        if child is not None:
            with _hold_ctrl_c():
                _end_group(child)
        raise
    finally:
        if child is not None:
            _forget(child)


def _forget(child: subprocess.Popen[Any]) -> None:
    with _guard:
        _running.discard(child)
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@contextlib.contextmanager
def _hold_ctrl_c() -> Iterator[None]:
    """Let a Ctrl-C that comes in the block come at its end; only the main thread ever gets one."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    came: list[FrameType | None] = []
    signal.signal(signal.SIGINT, lambda _number, frame: came.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        before(signal.SIGINT, came[0])


def _start(
    argv: Sequence[str],
    *,
    tool: str,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    stderr: int,
) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=None if env is None else dict(env),
            cwd=cwd,
            encoding="utf-8",
            errors="replace",
            # A group of its own, so that a tool's own children can be ended with it.
            start_new_session=True,
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise
        raise ToolError(
            "tool.missing",
            f"`{tool}` is not installed: there is no `{argv[0]}`",
            hint=f"install `{tool}`, or put its folder on `PATH`",
        ) from error
    except PermissionError as error:
        raise ToolError(
            "tool.refused",
            f"`{tool}` can't be started: `{argv[0]}` is not an executable file",
            hint=f"to make it one, run `chmod +x {shlex.quote(argv[0])}`",
        ) from error


def _end_group(child: subprocess.Popen[Any]) -> None:
    _signal_group(child, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE)
    # Also when the child itself is gone: what it started may not be.
    _signal_group(child, signal.SIGKILL)
    child.wait()


def _signal_group(child: subprocess.Popen[Any], number: signal.Signals) -> None:
    # The group has the child's own number, and keeps it as long as one member lives.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _hide(text: str, secrets: Sequence[str]) -> str:
    # The longest first: one secret may be a part of another.
    forms = {form for s in secrets if s for form in (s, quote(s, safe=""))}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return strip_credentials(text)


def _say(returncode: int) -> str:
    if returncode < 0:
        return f"was ended by signal {-returncode}"
    return f"failed with exit code {returncode}"


def _keep(text: str, *, tool: str, logs: Path) -> Path:
    with disk_errors(logs):
        logs.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", tool)
        handle, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".log", dir=logs)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    return Path(path)


def _quote_end(output: str) -> str:
    """Return the last line of `output` as an ending for a message."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if not lines:
        return ""
    last = lines[-1].rstrip(".")
    return f" and ends with: {last if len(last) <= 200 else last[:200] + '...'}"
