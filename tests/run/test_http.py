"""Talking to a service: an answer is whole and in time, or it is none."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from envbuild.run.http import Message, NoAnswerError, send

Serve = Callable[[bytes, bytes], int]
"""Starts a service that answers with the first bytes and then, for ever, with the second."""


@pytest.fixture
def serve() -> Iterator[Serve]:
    stop = threading.Event()
    with contextlib.ExitStack() as stack:

        def start(first: bytes, again: bytes) -> int:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            thread = threading.Thread(target=_answer, args=(server, first, again, stop))
            thread.start()
            stack.callback(thread.join)
            stack.callback(stop.set)
            return int(server.getsockname()[1])

        yield start


def _answer(server: socket.socket, first: bytes, again: bytes, stop: threading.Event) -> None:
    link, _ = server.accept()
    with link, contextlib.suppress(OSError):
        link.recv(4096)
        link.sendall(first)
        while again and not stop.wait(0.05):
            link.sendall(again)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"", b"H"),
        (HEAD, b"X-Wait: 1\r\n"),
        (HEAD + b"\r\n{", b" "),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ],
)
def test_answer_that_drips_for_ever_is_given_up(serve: Serve, first: bytes, again: bytes) -> None:
    with pytest.raises(NoAnswerError) as caught:
        send(serve(first, again), Message(path="/"), timeout=0.5)
    assert not caught.value.closed


def test_whole_answer_is_handed_on(serve: Serve) -> None:
    port = serve(HEAD + b"Content-Length: 2\r\n\r\n42", b"")
    answer = send(port, Message(path="/"), timeout=30)
    assert (answer.status, answer.body) == (200, b"42")
    assert answer.headers["content-type"] == "application/json"


def test_connection_that_ends_at_once_is_told_apart(serve: Serve) -> None:
    with pytest.raises(NoAnswerError) as caught:
        send(serve(b"", b""), Message(path="/"), timeout=30)
    assert caught.value.closed
