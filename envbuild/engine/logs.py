"""A container's output: whole lines, in the order they came, to a file and to a callback."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

__all__ = ["LineSink", "Lines", "LogPump", "LogStream"]

LineSink = Callable[[bytes], None]
"""Takes one line with its end (`\\n`, `\\r\\n`, or the `\\r` of a progress bar)."""

_LONGEST: Final = 1 << 16
_IDLE_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0


class LogStream(Protocol):
    """Pairs of stdout and stderr as they come, one of each pair being None.

    `stop` ends an iteration that waits in another thread, `close` comes after its end.
    """

    def __iter__(self) -> Iterator[tuple[bytes | None, bytes | None]]: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


class Lines:
    """Cuts pieces of bytes into lines; a line over 64 KiB is handed on in parts."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next piece; return the lines that are complete now, with their ends."""
        lines = (self._rest + data).splitlines(keepends=True)
        # A `\r` at the very end may be the first half of `\r\n`.
        self._rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        if len(self._rest) > _LONGEST:
            lines.append(self._rest)
            self._rest = b""
        return lines

    def flush(self) -> list[bytes]:
        """Return the last line if it has no end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


class LogPump:
    """Reads a log stream in a thread of its own until it ends."""

    def __init__(self, stream: LogStream, *, log: Path | None, sink: LineSink | None) -> None:
        self._stream = stream
        self._log = log
        self._sink = sink
        self._lines = (Lines(), Lines())
        self._last = time.monotonic()
        self._busy = False
        self._closed = False
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="envbuild-log", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def finish(self) -> None:
        """Wait until the stream has ended and everything in it was handed on, then close it.

        A stream that stays open although nothing comes any more (10 s) is given up.
        """
        while self._thread.is_alive():
            self._thread.join(0.2)
            if not self._busy and time.monotonic() - self._last > _IDLE_SECONDS:
                break
        self.close()

    def close(self) -> None:
        """Close the stream; what still is in it is lost."""
        if self._closed:
            return
        self._closed = True
        self._stream.stop()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)
        self._stream.close()

    def _run(self) -> None:
        try:
            with contextlib.ExitStack() as stack:
                write = self._open_log(stack)
                for pair in self._stream:
                    self._hand_on(pair, write)
                for lines in self._lines:
                    self._emit(lines.flush(), write)
        except Exception as error:  # noqa: BLE001 (raised again in the thread that waits)
            if not self._closed:
                self.error = error

    def _open_log(self, stack: contextlib.ExitStack) -> Callable[[bytes], object]:
        if self._log is None:
            return len
        # Unbuffered: whoever reads the file while the run lasts sees every line.
        return stack.enter_context(self._log.open("ab", buffering=0)).write

    def _hand_on(
        self, pair: tuple[bytes | None, bytes | None], write: Callable[[bytes], object]
    ) -> None:
        for data, lines in zip(pair, self._lines, strict=True):
            if data:
                self._emit(lines.feed(data), write)

    def _emit(self, lines: list[bytes], write: Callable[[bytes], object]) -> None:
        self._busy = True
        if lines:
            write(b"".join(lines))
        for line in lines:
            if self._sink is not None:
                self._sink(line)
        self._last, self._busy = time.monotonic(), False
