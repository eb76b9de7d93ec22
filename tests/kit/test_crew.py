"""Promises of `kit.crew`: results in order, and one failure or Ctrl-C ends everything soon."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.kit.crew import Stopped, run_crew


@given(things=st.lists(st.integers()), threads=st.integers(1, 6))
def test_results_come_in_the_order_of_the_things(things: list[int], threads: int) -> None:
    assert run_crew(lambda n, check: n * 2, things, threads=threads) == [n * 2 for n in things]


def test_things_are_done_side_by_side() -> None:
    barrier = threading.Barrier(3, timeout=30)
    run_crew(lambda n, check: barrier.wait(), range(3), threads=3)


def test_the_first_error_stops_the_others() -> None:
    began = threading.Event()
    stopped = threading.Event()

    def work(number: int, check: Callable[[], None]) -> None:
        if number == 0:
            began.wait(30)
            raise ValueError("the first")
        began.set()
        try:
            while True:
                check()
        except Stopped:
            stopped.set()
            raise

    with pytest.raises(ValueError, match="the first"):
        run_crew(work, range(50), threads=2)
    assert stopped.is_set()


def test_ctrl_c_does_not_wait_for_a_silent_server() -> None:
    program = (
        "import os, threading\nfrom envbuild.kit.crew import run_crew\n"
        "def work(n, check):\n    os.write(1, b'begun\\n')\n    threading.Event().wait()\n"
        "run_crew(work, [1, 2], threads=2)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        child.send_signal(signal.SIGINT)
        _, stderr = child.communicate(timeout=60)
    assert b"KeyboardInterrupt" in stderr
    assert b"RuntimeError" not in stderr


def test_ctrl_c_ends_the_crews_within_a_crew_and_what_they_would_do_next() -> None:
    program = (
        "import os, time, sys\nfrom pathlib import Path\nfrom envbuild.kit.crew import run_crew\n"
        "from envbuild.kit.process import run_tool\n"
        "def inner(n, check):\n"
        "    os.write(1, b'begun\\n')\n    time.sleep(1)\n    os.write(1, b'inner-%d\\n' % n)\n"
        "def outer(n, check):\n"
        "    try:\n        run_crew(inner, [1, 2, 3], threads=1)\n"
        "    except BaseException as error:\n"
        "        os.write(1, type(error).__name__.encode() + b'\\n')\n        raise\n"
        "    os.write(1, b'went on\\n')\n"
        "run_crew(outer, [1], threads=1)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        child.send_signal(signal.SIGINT)
        stdout, stderr = child.communicate(timeout=60)
    assert b"KeyboardInterrupt" in stderr
    assert stdout.split() == [b"inner-1", b"Stopped"], stdout
