"""A real pseudo-terminal: what a program shows there, as its raw bytes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Shown", "show"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """How a program ended and all that it wrote to its terminal."""

    code: int
    raw: str

    @property
    def plain(self) -> str:
        """Without the sequences that move the cursor and colour."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw)

    @property
    def frames(self) -> list[str]:
        """The display as it was drawn each time, between two moves of the cursor upwards."""
        parts = re.split(r"(?:\r?\x1b\[1A\x1b\[2K)+|\r\x1b\[2K", self.raw)
        return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", part) for part in parts]


def show(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    columns: int = 100,
    stop: Callable[[str], bool] = lambda _: False,
    timeout: float = 200,
) -> Shown:
    """Run `command` with a terminal for stdin, stdout and stderr.

    Ctrl-C is typed once, when `stop` says so of what was shown so far.
    """
    # pytest loads readline, which leaves the size of pytest's own terminal to children.
    own = {name: value for name, value in env.items() if name not in {"COLUMNS", "LINES"}}
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    run = subprocess.Popen(
        command, cwd=cwd, env=own, stdin=child, stdout=child, stderr=child,
        preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(child)
    said, typed, deadline = b"", False, time.monotonic() + timeout
    try:
        while time.monotonic() < deadline:
            try:
                data = os.read(parent, 65536)
            except OSError:  # EIO: nobody has the other end open any more
                break
            if not data:
                break
            said += data
            if not typed and stop(said.decode(errors="replace")):
                os.write(parent, b"\x03")
                typed = True
        code = run.wait(timeout=30)
    finally:
        run.kill()
        run.wait()
        os.close(parent)
    return Shown(code=code, raw=said.decode(errors="replace"))
