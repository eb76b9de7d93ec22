"""Plain HTTP to a service on this machine's loopback: no proxies, no redirects, no pool."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

__all__ = ["Answer", "Message", "NoAnswerError", "send", "send_garbage"]

LONGEST: Final = 64 << 20
"""Bytes of a body that are read at most."""


class NoAnswerError(Exception):
    """There was no complete HTTP answer; the text says why.

    `closed` is True if the connection was refused, reset or closed without a word: on a
    published port that means that nothing listens behind it.
    """

    def __init__(self, said: str, *, closed: bool = False) -> None:
        super().__init__(said)
        self.closed = closed


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A response; `ms` is the time from connecting to the body's last byte."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A request to send."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


def send(port: int, message: Message, *, timeout: float) -> Answer:
    """Send a request to loopback and read the whole answer within `timeout` seconds.

    Raises `NoAnswerError`.
    """
    begin = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.connect()
        with _Deadline(connection.sock, timeout) as deadline:
            return _exchange(connection, message, deadline, begin)
    except TimeoutError as error:
        raise NoAnswerError(f"no whole answer within {timeout:g} s") from error
    except http.client.RemoteDisconnected as error:
        raise NoAnswerError("the connection was closed without an answer", closed=True) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        said = str(error) or type(error).__name__
        closed = isinstance(error, ConnectionError)
        raise NoAnswerError(f"no usable answer: {said}", closed=closed) from error
    finally:
        connection.close()


def _exchange(
    connection: http.client.HTTPConnection, message: Message, deadline: _Deadline, begin: float
) -> Answer:
    try:
        connection.request(
            message.method, message.path, body=message.body, headers=dict(message.headers)
        )
        with connection.getresponse() as response:
            body = response.read(LONGEST)
    except (OSError, http.client.HTTPException) as error:
        if deadline.passed:
            raise TimeoutError from error
        raise
    if deadline.passed:
        raise TimeoutError
    return Answer(
        status=response.status,
        headers={name.lower(): value for name, value in response.getheaders()},
        body=body,
        ms=(time.monotonic() - begin) * 1000,
    )


class _Deadline:
    """Cuts a connection when its time is over.

    A socket's own time-out starts anew with every byte, so an answer that drips never ends.
    """

    def __init__(self, link: socket.socket, seconds: float) -> None:
        self.passed = False
        self._link = link
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def _cut(self) -> None:
        self.passed = True
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()


def send_garbage(port: int, *, timeout: float) -> str:
    """Send bytes that are no HTTP request; return in words what came back."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as link:
            link.sendall(b"\x00\xff NOT HTTP AT ALL\r\nContent-Length: lots\r\n\r\n{\xfe")
            link.shutdown(socket.SHUT_WR)
            came = link.recv(64)
    except OSError as error:
        return f"the connection ended ({error})"
    first = came.split(b"\r\n")[0].decode("ascii", "replace")
    return f"answered `{first}`" if came else "closed the connection"
