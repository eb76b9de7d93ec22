"""SIGTERM, by which CI systems cancel, as a Ctrl-C. Imports little: it is there before the rest."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import NoReturn

from envbuild.kit.signals import set_handler

__all__ = ["terminated_as_interrupted"]


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Take SIGTERM for a Ctrl-C: clean up, then end.

    Both wait while any thread puts files into their places.
    """

    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    with (
        set_handler(signal.SIGTERM, interrupt),
        set_handler(signal.SIGINT, signal.getsignal(signal.SIGINT)),
    ):
        yield
