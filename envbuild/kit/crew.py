"""Does the same to many things in a few threads; the first error or Ctrl-C stops all of them."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

__all__ = ["Stopped", "run_crew"]

T = TypeVar("T")
R = TypeVar("R")

_GRACE = 5.0
"""Seconds that threads have to notice that they are to stop; then they are left behind."""


class Stopped(Exception):  # noqa: N818 - says that somebody else failed
    """Raised inside a piece of work to leave it, because another one failed or Ctrl-C came."""


_TICK = 0.1
"""Seconds between two attempts to make them stop."""


class _Crew:
    """What a crew's threads share: whether they are to stop, and what they have done."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.done: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()

    def dismiss(self) -> None:
        """Have the threads stop, and whoever waits for them wait no longer."""
        self.stop.set()
        self.done.put((-1, None, Stopped()))


_crews: weakref.WeakSet[_Crew] = weakref.WeakSet()
_guard = threading.Lock()


def run_crew(
    work: Callable[[T, Callable[[], None]], R], things: Sequence[T], *, threads: int
) -> list[R]:
    """Return `work(thing, check)` for each thing, in the things' order.

    `check()` raises `Stopped` when the work is to end; long work calls it now and then. The first
    error is raised here once the threads have ended, or a few seconds later: they are daemons, so
    one that waits for a silent server never keeps the process alive. Ctrl-C, which only the main
    thread ever sees, ends the crews within the crew, too: they raise `Stopped`.
    """
    crew = _Crew()
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(things)):
        todo.put(number)

    def check() -> None:
        if crew.stop.is_set():
            raise Stopped

    def serve() -> None:
        while not crew.stop.is_set():
            try:
                number = todo.get_nowait()
            except queue.Empty:
                return
            try:
                crew.done.put((number, work(things[number], check), None))
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
                crew.done.put((number, None, error))
                return

    crowd = [threading.Thread(target=serve, daemon=True) for _ in range(min(threads, len(things)))]
    with _guard:
        _crews.add(crew)
    try:
        for thread in crowd:
            thread.start()
        return _collect(crew, len(things))
    except BaseException as error:
        crew.stop.set()
        _see_off(crowd, interrupted=isinstance(error, KeyboardInterrupt))
        raise


def _see_off(crowd: Sequence[threading.Thread], *, interrupted: bool) -> None:
    """Wait for the threads, but not for long."""
    end = time.monotonic() + _GRACE
    while (left := [t for t in crowd if t.is_alive()]) and time.monotonic() < end:
        if interrupted:
            _interrupt()
        left[0].join(_TICK)


def _interrupt() -> None:
    """End all children and all crews: a thread that waits for either can't hear of Ctrl-C.

    Once is not enough, for a thread may be about to start the next child or crew.
    """
    from envbuild.kit.process import stop_tools

    with _guard:
        crews = list(_crews)
    for crew in crews:
        crew.dismiss()
    stop_tools()


def _collect(crew: _Crew, count: int) -> list[Any]:
    results: dict[int, Any] = {}
    while len(results) < count:
        number, result, error = crew.done.get()
        if error is not None:
            raise error
        results[number] = result
    return [results[number] for number in range(count)]
