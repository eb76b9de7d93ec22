"""Does the same to many things in a few threads; the first error or Ctrl-C stops all of them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["Stopped", "run_crew"]

T = TypeVar("T")
R = TypeVar("R")

_GRACE = 5.0
"""Seconds that threads have to notice that they are to stop; then they are left behind."""


class Stopped(Exception):  # noqa: N818 - says that somebody else failed
    """Raised inside a piece of work to leave it, because another one failed or Ctrl-C came."""


def run_crew(
    work: Callable[[T, Callable[[], None]], R], things: Sequence[T], *, threads: int
) -> list[R]:
    """Return `work(thing, check)` for each thing, in the things' order.

    `check()` raises `Stopped` when the work is to end; long work calls it now and then. The first
    error is raised here once the threads have ended, or a few seconds later: they are daemons, so
    one that waits for a silent server never keeps the process alive.
    """
    stop = threading.Event()
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, R | None, BaseException | None]] = queue.SimpleQueue()
    for number in range(len(things)):
        todo.put(number)

    def check() -> None:
        if stop.is_set():
            raise Stopped

    def serve() -> None:
        while not stop.is_set():
            try:
                number = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((number, work(things[number], check), None))
            except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
                done.put((number, None, error))
                return

    crew = [threading.Thread(target=serve, daemon=True) for _ in range(min(threads, len(things)))]
    try:
        for thread in crew:
            thread.start()
        return _collect(done, len(things))
    except BaseException as error:
        stop.set()
        _dismiss(crew, error)
        raise


def _dismiss(crew: Sequence[threading.Thread], error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        from envbuild.kit.process import stop_tools

        stop_tools()  # a thread that waits for a child can't hear that it is to stop
    for thread in crew:
        if thread.is_alive():
            thread.join(_GRACE / len(crew))


def _collect(
    done: queue.SimpleQueue[tuple[int, R | None, BaseException | None]], count: int
) -> list[R]:
    results: dict[int, R] = {}
    while len(results) < count:
        number, result, error = done.get()
        if error is not None:
            raise error
        results[number] = result  # type: ignore[assignment]
    return [results[number] for number in range(count)]
