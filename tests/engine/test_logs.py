"""Cutting output into lines loses nothing, whatever the pieces."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.engine.logs import Lines, LogPump

TEXT = st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"long ", b"\xff"])).map(b"".join)


@given(pieces=st.lists(TEXT))
def test_no_byte_is_lost_and_pieces_do_not_matter(pieces: list[bytes]) -> None:
    lines, whole = Lines(), Lines()
    cut = [line for piece in pieces for line in lines.feed(piece)] + lines.flush()
    at_once = whole.feed(b"".join(pieces)) + whole.flush()
    assert b"".join(cut) == b"".join(pieces)
    assert cut == at_once


@given(text=TEXT)
def test_a_line_has_one_end(text: bytes) -> None:
    lines = Lines()
    for line in lines.feed(text):
        body = line.removesuffix(b"\n").removesuffix(b"\r")
        assert line != body
        assert b"\n" not in body
        assert b"\r" not in body


def test_progress_bar_comes_through_tick_by_tick() -> None:
    lines = Lines()
    assert lines.feed(b"\r 10%") == [b"\r"]
    assert lines.feed(b"\r 20%") == [b" 10%\r"]
    assert lines.feed(b"\n") == [b" 20%\n"]


def test_endless_line_is_handed_on_in_parts() -> None:
    lines = Lines()
    out = [part for _ in range(100) for part in lines.feed(b"x" * 10_000)]
    assert sum(map(len, out)) > 900_000


class _Stream:
    """A stream that gives what it is told and then waits until it is stopped."""

    def __init__(self, *pairs: tuple[bytes | None, bytes | None]) -> None:
        self._pairs = pairs
        self._stopped = threading.Event()
        self.closed = False

    def __iter__(self) -> Iterator[tuple[bytes | None, bytes | None]]:
        yield from self._pairs
        self._stopped.wait(60)

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        assert self._stopped.is_set()
        self.closed = True


def test_two_streams_do_not_mix_within_a_line(tmp_path: Path) -> None:
    got: list[bytes] = []
    stream = _Stream((b"out", None), (None, b"err\n"), (b"put\n", None), (None, b"rest"))
    pump = LogPump(stream, log=tmp_path / "log", sink=got.append)
    pump.start()
    pump.close()
    assert got == [b"err\n", b"output\n", b"rest"]
    assert (tmp_path / "log").read_bytes() == b"err\noutput\nrest"
    assert stream.closed


def test_stream_that_never_ends_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envbuild.engine.logs._IDLE_SECONDS", 0.3)
    stream = _Stream((b"x\n", None))
    pump = LogPump(stream, log=None, sink=None)
    pump.start()
    pump.finish()
    assert stream.closed


def test_error_of_the_file_is_kept_for_whoever_waits(tmp_path: Path) -> None:
    stream = _Stream((b"x\n", None))
    pump = LogPump(stream, log=tmp_path / "no" / "log", sink=None)
    pump.start()
    pump.finish()
    assert isinstance(pump.error, FileNotFoundError)
