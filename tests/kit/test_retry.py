"""Promises of `kit.retry`."""

from __future__ import annotations

from envbuild.kit.retry import Patience


def test_pauses_grow_and_obey_the_server() -> None:
    patience = Patience(delay=1.0, longest=20.0)
    pauses = [patience.pause(attempt) for attempt in (1, 2, 3, 4, 9)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 20.0
    assert patience.pause(1, "7") == 7.0
    assert patience.pause(1, "3600") == 20.0
    assert patience.pause(1, "Fri, 31 Dec 1999 23:59:59 GMT") == 0.0
    assert patience.pause(1, "soon") <= 1.25
