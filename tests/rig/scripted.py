"""An HTTP server on loopback that misbehaves as it is told: the faults that real servers have."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Act", "Handler", "ScriptedServer", "Seen", "answer", "cut", "hang", "through"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One request as the server saw it; headers in `Title-Case`."""

    method: str
    path: str
    headers: Mapping[str, str]
    client: tuple[str, int] = ("", 0)
    """The connection that it came by."""


Act = Callable[["Handler"], None]
"""What to do with one request."""


def answer(status: int, body: bytes = b"", **headers: str) -> Act:
    """Read the request and answer it; `Content_Type="x"` becomes the header `Content-Type`."""

    def act(handler: Handler) -> None:
        handler.read_body()
        handler.reply(status, body, {name.replace("_", "-"): v for name, v in headers.items()})

    return act


def hang(handler: Handler) -> None:
    """Say nothing until the server is closed."""
    handler.server.closing.wait(60)
    handler.close_connection = True


def cut(*, after: int = 0) -> Act:
    """Read `after` bytes of the request's body, then drop the connection without an answer."""

    def act(handler: Handler) -> None:
        handler.rfile.read(min(after, int(handler.headers.get("Content-Length", 0))))
        handler.close_connection = True
        # Unread bytes make this a reset, as when a process dies.
        handler.connection.close()

    return act


def through(handler: Handler) -> None:
    """Do what the server does without a script."""
    handler.server.owner.serve(handler)


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the script, else to the server's own behaviour."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        # A client that goes away in mid-answer is what many of these tests are about.
        with contextlib.suppress(ConnectionError, ssl.SSLError, ValueError):
            super().handle_one_request()

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._dispatch
        raise AttributeError(name)

    def _dispatch(self) -> None:
        owner = self.server.owner
        headers = {name.title(): value for name, value in self.headers.items()}
        seen = Seen(
            method=self.command, path=self.path, headers=headers, client=self.client_address
        )
        owner.find_act(seen)(self)

    def read_body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        given = {"Content-Length": str(len(body)), **(headers or {})}
        self.send_response(status)
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep the tests' output clean."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: ScriptedServer
    closing: threading.Event

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that a script dropped is no error of the server."""


@dataclass
class ScriptedServer:
    """A server of `files` (path -> bytes) whose answers a script may replace, one by one."""

    files: dict[str, bytes] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    _script: list[tuple[str, re.Pattern[str], list[Act]]] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    port: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def script(self, method: str, path: str, *acts: Act, forever: bool = False) -> None:
        """Meet requests whose path has the pattern `path` with `acts`, in turn, each once.

        With `forever`, the last one stays.
        """
        self._script.append((method, re.compile(path), [*acts, *([_FOREVER] if forever else [])]))

    def count(self, method: str, path: str = "") -> int:
        """Return how many requests of this kind came."""
        return sum(s.method == method and re.search(path, s.path) is not None for s in self.seen)

    def find_act(self, seen: Seen) -> Act:
        with self._guard:
            self.seen.append(seen)
            for method, path, acts in self._script:
                if method == seen.method and acts and path.search(seen.path):
                    return acts[0] if acts[1:] == [_FOREVER] else acts.pop(0)
        return through

    def serve(self, handler: Handler) -> None:
        """Answer a request that no script is about."""
        handler.read_body()
        data = self.files.get(handler.path.partition("?")[0])
        handler.reply(404 if data is None else 200, data or b"")

    @contextlib.contextmanager
    def running(self) -> Iterator[ScriptedServer]:
        server = _Server(("127.0.0.1", 0), Handler)
        server.owner, server.closing = self, threading.Event()
        if self.tls is not None:
            server.socket = self.tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.closing.set()
            server.shutdown()
            server.server_close()
            thread.join()


_FOREVER: Act = lambda _handler: None  # noqa: E731 - a mark, never called
