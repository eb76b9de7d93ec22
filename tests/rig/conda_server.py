"""Serves a folder over http on loopback as a conda channel's server does.

Answers carry an ETag, 200 and 304 alike, and `Cache-Control: no-cache`: Python's own file server
lacks the first, and rattler then fails on the second visit. Ranges are served, because rattler
reads a package's metadata from the end of its archive.
"""

from __future__ import annotations

import base64
import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["FolderServer", "serve_folder"]


@dataclass(kw_only=True, slots=True)
class FolderServer:
    """A running server. `credentials` and `status` may be changed while it runs."""

    folder: Path
    url: str
    credentials: tuple[str, str] | None = None
    """User and password that every request must bring."""
    status: int | None = None
    """Every request is answered with this error."""
    heads: bool = True
    """Without, HEAD is a method that nobody allowed."""
    requests: list[str] = field(default_factory=list)
    """`METHOD /path STATUS` of each request so far."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    facts: FolderServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up early is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    server: _Server

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Write nothing to stderr; `requests` has it."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        # Without a query: it may hold a token.
        path = urlsplit(self.path).path
        self.server.facts.requests.append(f"{self.command} {path} {int(code)}")

    def _answer(self, *, with_body: bool) -> None:
        facts = self.server.facts
        if not with_body and not facts.heads:
            return self._send(405, b"", with_body=False)
        if facts.status is not None:
            return self._send(facts.status, b"as the test wants it\n", with_body=with_body)
        if facts.credentials is not None and not self._is_authorised(*facts.credentials):
            return self._send(
                401, b"", with_body=with_body, headers={"WWW-Authenticate": 'Basic realm="tests"'}
            )
        path = facts.folder / unquote(urlsplit(self.path).path).lstrip("/")
        if not path.is_file() or not path.resolve().is_relative_to(facts.folder.resolve()):
            return self._send(404, b"not found\n", with_body=with_body)
        return self._send_file(path, with_body=with_body)

    def _is_authorised(self, user: str, password: str) -> bool:
        wanted = base64.b64encode(f"{user}:{password}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {wanted}"

    def _send_file(self, path: Path, *, with_body: bool) -> None:
        facts = path.stat()
        tag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache", "Accept-Ranges": "bytes"}
        if tag in self.headers.get("If-None-Match", ""):
            return self._send(304, b"", with_body=False, headers=headers)
        data = path.read_bytes()
        span = self._find_span(len(data))
        if span is None:
            return self._send(200, data, with_body=with_body, headers=headers)
        first, last = span
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return self._send(206, data[first : last + 1], with_body=with_body, headers=headers)

    def _find_span(self, size: int) -> tuple[int, int] | None:
        """Return the first and last byte of a single range (RFC 9110, section 14.1.2)."""
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not found or not (found[1] or found[2]) or not size:
            return None
        if not found[1]:
            return max(0, size - int(found[2])), size - 1
        first = int(found[1])
        return (first, min(int(found[2] or size), size - 1)) if first < size else None

    def _send(
        self, status: int, data: bytes, *, with_body: bool, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)


@contextlib.contextmanager
def serve_folder(
    folder: Path, *, credentials: tuple[str, str] | None = None, status: int | None = None
) -> Iterator[FolderServer]:
    """Serve `folder` at a free port of 127.0.0.1 while the block runs."""
    server = _Server(("127.0.0.1", 0), _Handler)
    port = server.server_address[1]
    server.facts = FolderServer(
        folder=folder, url=f"http://127.0.0.1:{port}", credentials=credentials, status=status
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.facts
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
