"""Plain HTTP to a service on this machine's loopback: no proxies, no redirects, no pool."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Answer", "Message", "NoAnswerError", "send", "send_garbage"]

LONGEST: Final = 64 << 20
"""Bytes of a body that are read at most."""


class NoAnswerError(Exception):
    """There was no complete HTTP answer; the text says why."""


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
    """Send a request to loopback and read the answer, within `timeout` seconds for each step.

    Raises `NoAnswerError`.
    """
    begin = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(
            message.method, message.path, body=message.body, headers=dict(message.headers)
        )
        response = connection.getresponse()
        body = response.read(LONGEST)
        return Answer(
            status=response.status,
            headers={name.lower(): value for name, value in response.getheaders()},
            body=body,
            ms=(time.monotonic() - begin) * 1000,
        )
    except TimeoutError as error:
        raise NoAnswerError(f"no answer within {timeout:g} s") from error
    except http.client.RemoteDisconnected as error:
        raise NoAnswerError("the connection was closed without an answer") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        said = str(error) or type(error).__name__
        raise NoAnswerError(f"no usable answer: {said}") from error
    finally:
        connection.close()


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
