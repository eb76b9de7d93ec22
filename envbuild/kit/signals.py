"""Has Ctrl-C and SIGTERM wait while files that belong together take their places.

Only the main thread hears of signals, and only there a handler can be set; yet files are written in
other threads, too. So the handlers ask whether anybody writes, and whoever ends last sends what
came.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

__all__ = ["held_back", "set_handler"]

Handler = Callable[[int, FrameType | None], object]

_HELD: Final = (signal.SIGINT, signal.SIGTERM)

# Reentrant, for a handler may run where the main thread has it.
_guard = threading.RLock()
_writers: list[int] = []
"""The threads that write, each as often as its blocks are nested."""
_came: list[int] = []


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Have Ctrl-C and SIGTERM come at the end of the block, which is to take no time to speak of.

    In another thread than the main one, that needs handlers of `set_handler`.
    """
    try:
        with contextlib.ExitStack() as handlers:
            for number in _HELD:
                handlers.enter_context(set_handler(number, signal.getsignal(number)))
            with _guard:
                _writers.append(threading.get_ident())
            try:
                yield
            finally:
                with _guard:
                    _writers.remove(threading.get_ident())
    finally:
        _send_what_came()


@contextlib.contextmanager
def set_handler(
    number: signal.Signals, handler: Handler | signal.Handlers | int | None
) -> Iterator[None]:
    """Have `handler` get the signal while the block runs, though not before nobody writes.

    Nothing is set where the signal is ignored, and in another thread than the main one.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or handler is None or handler == signal.SIG_IGN:
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        with _guard:
            if _writers:
                _came.append(number)
                return
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, handler)
            signal.raise_signal(number)

    before = signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, before)


def _send_what_came() -> None:
    with _guard:
        numbers = [] if _writers else _came[:]
        del _came[: len(numbers)]
    main = threading.main_thread().ident
    for number in dict.fromkeys(numbers):
        if main is not None:
            signal.pthread_kill(main, number)
