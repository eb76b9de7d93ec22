"""A Python package index on loopback, and tiny wheels for it (PEP 503, 658, 691, 700, 592)."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import ssl
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import unquote, urlsplit

import pytest

from tests.rig.sources import make_sdist

__all__ = ["IndexFile", "PipIndex", "make_wheel", "pip_index", "wheel_name"]

_JSON: Final = "application/vnd.pypi.simple.v1+json"
_EPOCH: Final = (2020, 1, 1, 0, 0, 0)


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wheel_name(name: str, version: str, tag: str = "py3-none-any") -> str:
    """Return a wheel's file name."""
    return f"{normalise(name).replace('-', '_')}-{version}-{tag}.whl"


def make_wheel(
    name: str,
    version: str,
    *,
    tag: str = "py3-none-any",
    requires: Sequence[str] = (),
    requires_python: str = "",
    extras: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
) -> tuple[bytes, bytes]:
    """Return a wheel and its METADATA; the same arguments give the same bytes."""
    folder = f"{normalise(name).replace('-', '_')}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    if requires_python:
        metadata.append(f"Requires-Python: {requires_python}")
    metadata += [f"Provides-Extra: {extra}" for extra in extras]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
    pure = "true" if tag.endswith("-any") else "false"
    tags = "".join(f"Tag: {t}\n" for t in _expand_tag(tag))
    members = {
        **(files or {f"{normalise(name).replace('-', '_')}.py": f"V = {version!r}\n".encode()}),
        f"{folder}/METADATA": ("\n".join(metadata) + "\n").encode(),
        f"{folder}/WHEEL": (
            f"Wheel-Version: 1.0\nGenerator: rig\nRoot-Is-Purelib: {pure}\n{tags}".encode()
        ),
    }
    record = "".join(f"{path},{_record_hash(data)},{len(data)}\n" for path, data in members.items())
    members[f"{folder}/RECORD"] = f"{record}{folder}/RECORD,,\n".encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in members.items():
            info = zipfile.ZipInfo(path, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return out.getvalue(), members[f"{folder}/METADATA"]


def _expand_tag(tag: str) -> Iterator[str]:
    pythons, abis, platforms = tag.split("-")
    for python in pythons.split("."):
        for abi in abis.split("."):
            for platform in platforms.split("."):
                yield f"{python}-{abi}-{platform}"


def _record_hash(data: bytes) -> str:
    digest = hashlib.sha256(data).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexFile:
    """A file of the index; `served` is what a download gives, where that isn't `data`."""

    name: str
    version: str
    filename: str
    data: bytes
    metadata: bytes | None
    requires_python: str
    yanked: bool
    served: bytes | None
    uploaded: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


class PipIndex:
    """The index: add files, point pip at `url`, look at `requests` afterwards.

    `with_hashes=False` leaves hashes and sizes out of its pages, as plain folders do; `login`
    asks for basic authentication; `broken` answers every request with that status; `without_head`
    refuses HEAD. `watch` is called before each answer, and a request waits until it returns.
    `moved` is where files (`files`) or everything (`all`) really are: the URL of another index's
    root, to which requests are redirected. `logins` are the `Authorization` headers that came.
    With `tls` it speaks https.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.moved: tuple[Literal["files", "all"], str] | None = None
        self.logins: list[str] = []
        self.files: dict[str, dict[str, IndexFile]] = {}
        self.requests: list[tuple[str, str]] = []
        self.login: tuple[str, str] | None = None
        self.broken: int | None = None
        self.with_hashes = True
        self.with_sizes = True
        self.html_only = False
        self.without_head = False
        self.watch: Callable[[], object] = lambda: None
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"index": self}))
        self._tls = tls
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; afterwards nothing listens on its port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{self.root}simple/"

    @property
    def root(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/"

    def url_with(self, user_info: str) -> str:
        """Return the URL with `user:password` (or references to them) in it."""
        return f"http://{user_info}@127.0.0.1:{self.port}/simple/"

    def add(
        self,
        name: str,
        version: str,
        *requires: str,
        tag: str = "py3-none-any",
        requires_python: str = "",
        extras: Sequence[str] = (),
        files: Mapping[str, bytes] | None = None,
        yanked: bool = False,
        served: bytes | None = None,
        uploaded: str = "",
    ) -> IndexFile:
        """Add a wheel that needs `requires`; `tag` may be compressed (`py2.py3-none-any`)."""
        data, metadata = make_wheel(
            name, version, tag=tag, requires=requires, requires_python=requires_python,
            extras=extras, files=files,
        )  # fmt: skip
        return self._keep(
            IndexFile(
                name=name,
                version=version,
                filename=wheel_name(name, version, tag),
                data=data,
                metadata=metadata,
                requires_python=requires_python,
                yanked=yanked,
                served=served,
                uploaded=uploaded,
            )
        )

    def add_sdist(
        self,
        name: str,
        version: str,
        files: Mapping[str, str] | None = None,
        *,
        served: bytes | None = None,
    ) -> IndexFile:
        """Add a source distribution of `files`; without them it is one that no one may build."""
        trap = {"setup.py": "raise SystemExit('a source distribution was built')\n"}
        return self._keep(
            IndexFile(
                name=name,
                version=version,
                filename=f"{normalise(name).replace('-', '_')}-{version}.tar.gz",
                data=make_sdist(normalise(name), version, trap if files is None else files),
                metadata=None,
                requires_python="",
                yanked=False,
                served=served,
            )
        )

    def remove(self, file: IndexFile) -> None:
        """Take a file off the index, as an index's owner may."""
        del self.files[normalise(file.name)][file.filename]

    def downloads(self) -> list[str]:
        """Return the names of the files that were downloaded, in order, repeats included."""
        paths = [path for method, path in self.requests if method == "GET"]
        return [
            path.rsplit("/", 1)[-1]
            for path in paths
            if path.startswith("/files/") and not path.endswith(".metadata")
        ]

    def _keep(self, file: IndexFile) -> IndexFile:
        self.files.setdefault(normalise(file.name), {})[file.filename] = file
        return file

    def find(self, filename: str) -> IndexFile | None:
        for files in self.files.values():
            if filename in files:
                return files[filename]
        return None

    def describe(self, file: IndexFile) -> dict[str, object]:
        """Return a file's entry of the JSON page (PEP 691)."""
        entry: dict[str, object] = {
            "filename": file.filename,
            "url": f"/files/{file.filename}",
            "hashes": {"sha256": file.sha256} if self.with_hashes else {},
            "yanked": file.yanked,
        }
        if self.with_sizes and self.with_hashes:
            entry["size"] = len(file.data)
        if file.uploaded:
            entry["upload-time"] = file.uploaded
        if file.requires_python:
            entry["requires-python"] = file.requires_python
        if file.metadata is not None:
            entry["core-metadata"] = {"sha256": hashlib.sha256(file.metadata).hexdigest()}
        return entry

    def render_json(self, name: str) -> bytes:
        files = list(self.files[name].values())
        page = {
            "meta": {"api-version": "1.1"},
            "name": name,
            "versions": sorted({file.version for file in files}),
            "files": [self.describe(file) for file in files],
        }
        return json.dumps(page).encode()

    def render_html(self, name: str) -> bytes:
        links = []
        for file in self.files[name].values():
            fragment = f"#sha256={file.sha256}" if self.with_hashes else ""
            attributes = ' data-yanked="withdrawn"' if file.yanked else ""
            if file.requires_python:
                attributes += f' data-requires-python="{html.escape(file.requires_python)}"'
            links.append(
                f'<a href="/files/{file.filename}{fragment}"{attributes}>{file.filename}</a><br>'
            )
        return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()


class _Handler(BaseHTTPRequestHandler):
    """Answers for the index that a subclass of its own names."""

    protocol_version = "HTTP/1.1"
    index: PipIndex

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.index.requests.append((self.command, path))
        self.index.logins.append(self.headers.get("Authorization", ""))
        self.index.watch()
        if self.index.broken is not None:
            self._send(self.index.broken, b"broken", "text/plain")
        elif self.command == "HEAD" and self.index.without_head:
            self._send(405, b"", "text/plain")
        elif not self._may():
            self._send(401, b"who are you?", "text/plain")
        elif self.index.moved and (self.index.moved[0] == "all" or path.startswith("/files/")):
            self._send(302, b"", "text/plain", location=self.index.moved[1] + path.lstrip("/"))
        elif found := re.fullmatch(r"/simple/([^/]+)/?", path):
            self._send_page(normalise(found[1]))
        else:
            self._send_file(path.removeprefix("/files/"))

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def _send_page(self, name: str) -> None:
        if name not in self.index.files:
            self._send(404, b"not here", "text/plain")
        elif _JSON in self.headers.get("Accept", "") and not self.index.html_only:
            self._send(200, self.index.render_json(name), _JSON)
        else:
            self._send(200, self.index.render_html(name), "text/html")

    def _send_file(self, name: str) -> None:
        file = self.index.find(name.removesuffix(".metadata"))
        if file is None:
            self._send(404, b"not here", "text/plain")
        elif name.endswith(".metadata"):
            self._send(200, file.metadata or b"", "text/plain")
        else:
            data = file.data if file.served is None else file.served
            self._send(200, data, "application/octet-stream")

    def _may(self) -> bool:
        if self.index.login is None:
            return True
        wanted = base64.b64encode(":".join(self.index.login).encode()).decode()
        return self.headers.get("Authorization") == f"Basic {wanted}"

    def _send(self, status: int, body: bytes, kind: str, *, location: str = "") -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-cache")
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that was ended leaves its connections open."""


@pytest.fixture
def pip_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PipIndex]:
    """An empty index, and caches of pip and uv that only this test uses."""
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip-cache"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    with PipIndex() as index:
        yield index
