"""Telling dead owners from living ones, and never speaking for another machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from envbuild.engine.owner import find_owner, is_gone


def test_this_process_is_not_gone() -> None:
    assert not is_gone(find_owner())
    assert find_owner().split(":")[1] == str(os.getpid())


def test_ended_process_is_gone_even_as_a_zombie() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        owner = find_owner(child.pid)
        assert not is_gone(owner)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(owner)
    assert is_gone(owner)


def test_pid_that_was_used_again_is_gone() -> None:
    host, pid, start = find_owner().split(":")
    assert is_gone(f"{host}:{pid}:{int(start) - 1}")


@pytest.mark.parametrize("text", ["", "x", "a:b", "a:b:c:d", "{host}:x:1", "other:1:1"])
def test_what_cannot_be_known_counts_as_alive(text: str) -> None:
    assert not is_gone(text.replace("{host}", find_owner().split(":")[0]))
