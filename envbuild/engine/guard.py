"""Clean up after a parent that died without a word: remove its container, end its processes.

The guard is a small child in a session of its own, so that neither Ctrl-C nor the end of the
terminal reaches it. It holds the read end of a pipe. The parent says `bye` when it has cleaned up
itself; if the pipe closes before that word, or the parent's PID is no longer the guard's parent,
the guard does the work. It imports the SDK only then, so a guard on watch costs little.

Run as `python -m envbuild.engine.guard`; its orders are one line of JSON on stdin.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from envbuild.engine.family import end_family

__all__ = ["Guard", "main", "start_guard"]

_BYE: Final = b"bye"
_WATCH_SECONDS: Final = 1.0
_LATE_SECONDS: Final = 5.0
"""How long a container may still appear after its creator died in the middle of creating it."""
_GRACE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Guard:
    """The parent's end of a guard: the child, and the write end of its pipe."""

    process: subprocess.Popen[bytes]
    pipe: int

    def watch(self, group: int) -> None:
        """Have the guard end this process group too."""
        os.write(self.pipe, b"%d\n" % group)

    def dismiss(self) -> None:
        """Tell the guard that all is clean; it ends without doing anything."""
        with contextlib.suppress(OSError):
            os.write(self.pipe, _BYE + b"\n")
        self.call()

    def call(self) -> None:
        """Let the guard clean up now, and wait until it did."""
        os.close(self.pipe)
        self.process.wait()


def start_guard(
    *,
    container: str | None = None,
    run_id: str | None = None,
    environment: Mapping[str, str] | None = None,
    on_loss: Sequence[str] = (),
) -> Guard:
    """Start a guard over a container (by name), or over the processes of a run (by its ID).

    `environment` is added to the guard's own (to reach the same engine); `on_loss` is a command
    that it runs last of all, after it had to clean up.
    """
    orders = {"container": container, "run_id": run_id, "on_loss": list(on_loss)}
    source, pipe = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "envbuild.engine.guard"],
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        os.write(pipe, json.dumps({**orders, "parent": os.getpid()}).encode() + b"\n")
    except BaseException:
        os.close(pipe)
        raise
    finally:
        os.close(source)
    return Guard(process, pipe)


def main() -> int:
    """Watch over the parent until it says `bye` or is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    line, rest = _read_orders()
    if not line:
        return 0
    orders = json.loads(line)
    said_bye, group = _listen(rest, parent=orders["parent"])
    if said_bye:
        return 0
    if group:
        _end_group(group)
    if orders["run_id"]:
        end_family(orders["run_id"], grace=_GRACE_SECONDS)
    if orders["container"]:
        _remove_container(orders["container"])
    if orders["on_loss"]:
        subprocess.run(orders["on_loss"], check=False)
    return 0


def _read_orders() -> tuple[bytes, bytes]:
    data = b""
    while b"\n" not in data:
        piece = os.read(0, 4096)
        if not piece:
            return b"", b""
        data += piece
    line, _, rest = data.partition(b"\n")
    return line, rest


def _listen(heard: bytes, *, parent: int) -> tuple[bool, int | None]:
    """Wait for the word or the parent's end: if the word came, and the group to end if not."""
    group = None
    while True:
        *lines, heard = heard.split(b"\n")
        for line in lines:
            if line == _BYE:
                return True, None
            group = int(line)
        ready, _, _ = select.select([0], [], [], _WATCH_SECONDS)
        if ready:
            piece = os.read(0, 64)
            if not piece:
                return False, group
            heard += piece
        elif os.getppid() != parent:
            # A forked child of the parent may still hold the pipe open.
            return False, group


def _end_group(group: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.05)
        os.killpg(group, signal.SIGKILL)


def _remove_container(name: str) -> None:
    """Remove the container; wait a little for one whose creation is still under way."""
    from envbuild.engine.client import connect_engine
    from envbuild.engine.leftovers import remove_container
    from envbuild.errors import EngineError

    deadline = time.monotonic() + _LATE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(EngineError), connect_engine() as engine:
            if remove_container(engine, name):
                return
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
