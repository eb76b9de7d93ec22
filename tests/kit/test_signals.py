"""Signals wait for the end of a block, in whichever thread it runs."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from envbuild.kit.signals import held_back, set_handler


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_main_thread_and_nested(number: signal.Signals) -> None:
    came: list[int] = []
    before = signal.getsignal(number)
    with set_handler(number, lambda got, _: came.append(got)):
        own = signal.getsignal(number)
        with held_back():
            with held_back():
                signal.raise_signal(number)
            signal.raise_signal(number)
            assert came == []
        assert came == [number]
        assert signal.getsignal(number) is own
        signal.raise_signal(number)
        assert came == [number] * 2
    assert signal.getsignal(number) is before


def test_an_error_in_the_block_loses_no_signal() -> None:
    def fail() -> None:
        with held_back():
            signal.raise_signal(signal.SIGINT)
            raise ValueError

    with pytest.raises(KeyboardInterrupt):
        fail()


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_back():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_of_another_thread() -> None:
    writing, free, written = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        with held_back():
            writing.set()
            free.wait(20)
            written.set()

    thread = threading.Thread(target=write)

    def wait() -> None:
        thread.start()
        writing.wait(20)
        signal.raise_signal(signal.SIGINT)
        assert not written.is_set()
        free.set()
        for _ in range(400):  # a signal just before a long sleep would be heard of after it
            time.sleep(0.05)

    with set_handler(signal.SIGINT, signal.default_int_handler):
        with pytest.raises(KeyboardInterrupt):
            wait()
        assert written.is_set()
    thread.join()
