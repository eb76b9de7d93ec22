"""A git repository over http on loopback, by git's dumb protocol, for whoever has the login."""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.rig.sources import run_git

__all__ = ["GitServer", "serve_repository"]


@dataclass(kw_only=True)
class GitServer:
    """`place` is `HOST/NAME.git`; `seen` are the `Authorization` headers that came, in order.

    `watch` is called before each answer.
    """

    folder: Path
    place: str
    login: tuple[str, str]
    seen: list[str] = field(default_factory=list)
    watch: Callable[[], object] = lambda: None

    @property
    def header(self) -> str:
        """The header that opens it."""
        return "Basic " + base64.b64encode(":".join(self.login).encode()).decode()


class _Server(ThreadingHTTPServer):
    facts: GitServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: git may close a connection early."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        facts = self.server.facts
        facts.seen.append(self.headers.get("Authorization", ""))
        facts.watch()
        path = self.path.partition("?")[0].removeprefix(f"/{facts.folder.name}.git/")
        file = facts.folder / ".git" / path
        status = 401
        if facts.seen[-1] == facts.header:
            status = 200 if file.is_file() else 404
        body = file.read_bytes() if status == 200 else b""
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextlib.contextmanager
def serve_repository(folder: Path, login: tuple[str, str]) -> Iterator[GitServer]:
    """Serve the repository in `folder` (its work tree) while the block runs."""
    run_git(folder, "update-server-info")
    server = _Server(("127.0.0.1", 0), _Handler)
    place = f"127.0.0.1:{server.server_address[1]}/{folder.name}.git"
    server.facts = GitServer(folder=folder, place=place, login=login)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.facts
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
