"""Registries on loopback: Debian's docker-registry, open and locked, and one that misbehaves."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.rig.need import missing
from tests.rig.scripted import Act, Handler, ScriptedServer

__all__ = [
    "ClientRegistry",
    "FaultyRegistry",
    "LockedRegistry",
    "RunningRegistry",
    "faulty_registry",
    "registry",
    "registry_auth",
    "start_client_registry",
    "start_registry",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningRegistry:
    """A registry at `host` (`127.0.0.1:PORT`, plain http) that keeps everything below `root`."""

    host: str
    root: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedRegistry:
    """A registry that wants TLS (its authority's file is `ca`) and a login."""

    host: str
    user: str
    password: str
    ca: Path

    def write_login(self, folder: Path) -> Path:
        """Write a `config.json` with the login into `folder`, which is for `DOCKER_CONFIG`."""
        folder.mkdir(parents=True, exist_ok=True)
        auth = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": auth}}}))
        return folder


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """An open registry on plain http."""
    root = tmp_path_factory.mktemp("registry")
    with start_registry(root) as host:
        yield RunningRegistry(host=host, root=root)


@pytest.fixture(scope="session")
def registry_auth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LockedRegistry]:
    """A registry that wants TLS and a login."""
    import bcrypt
    import trustme

    root = tmp_path_factory.mktemp("registry-auth")
    user, password = "ada", secrets.token_urlsafe(16)
    digest = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    (root / "htpasswd").write_text(f"{user}:{digest}\n")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(root / "ca.pem")
    server = authority.issue_cert("127.0.0.1", "localhost")
    server.private_key_and_cert_chain_pem.write_to_path(root / "server.pem")
    extra = (
        f"  tls: {{certificate: {root}/server.pem, key: {root}/server.pem}}\n"
        f"auth:\n  htpasswd: {{realm: envbuild, path: {root}/htpasswd}}\n"
    )
    with start_registry(root, extra) as host:
        yield LockedRegistry(host=host, user=user, password=password, ca=root / "ca.pem")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientRegistry:
    """A registry that wants TLS and a client's certificate, which is here with its key."""

    host: str
    ca: Path
    certificate: Path
    key: Path


@contextlib.contextmanager
def start_client_registry(root: Path) -> Iterator[ClientRegistry]:
    """Run docker-registry so that it lets in only who shows a certificate."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(root / "ca.pem")
    server = authority.issue_cert("127.0.0.1", "localhost")
    server.private_key_and_cert_chain_pem.write_to_path(root / "server.pem")
    client = authority.issue_cert("ada@example.com")
    client.private_key_pem.write_to_path(root / "client.key")
    client.cert_chain_pems[0].write_to_path(root / "client.cert")
    extra = (
        f"  tls:\n    certificate: {root}/server.pem\n    key: {root}/server.pem\n"
        f"    clientcas: [{root}/ca.pem]\n"
    )
    with start_registry(root, extra) as host:
        yield ClientRegistry(
            host=host,
            ca=root / "ca.pem",
            certificate=root / "client.cert",
            key=root / "client.key",
        )


@contextlib.contextmanager
def start_registry(root: Path, extra: str = "") -> Iterator[str]:
    """Run docker-registry with its storage below `root`; give its `127.0.0.1:PORT`."""
    program = shutil.which("docker-registry")
    if program is None:
        missing("docker-registry", "apt-get install docker-registry")
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = root / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {root}/storage}}}}\n"
            f"http:\n  addr: 127.0.0.1:{port}\n  secret: of-a-test\n{extra}"
        )
        with (root / "log").open("ab") as log:
            child = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
        try:
            if _wait(child, port):
                yield f"127.0.0.1:{port}"
                return
        finally:
            child.kill()
            child.wait()
    pytest.fail(f"docker-registry does not start:\n{(root / 'log').read_text()}", pytrace=False)


def _wait(child: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the port answers; False if the child ends first (somebody took the port)."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return child.poll() is None
        time.sleep(0.02)
    return False


@pytest.fixture
def faulty_registry() -> Iterator[FaultyRegistry]:
    """A small registry of the test's own, whose answers the test may script."""
    with FaultyRegistry().running() as server:
        assert isinstance(server, FaultyRegistry)
        yield server


@dataclass
class FaultyRegistry(ScriptedServer):
    """A registry in memory: the distribution API in brief, with whatever login it is told to want.

    `login` is None, `basic` or `bearer`; with `bearer` it is its own token service at `/token`.
    """

    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    login: str | None = None
    user: str = "ada"
    password: str = field(default_factory=secrets.token_urlsafe)
    anonymous: frozenset[str] = frozenset()
    """Scopes that the token service grants to anybody."""
    forbidden: frozenset[str] = frozenset()
    """Repositories that it grants nothing on to anybody."""
    tokens: dict[str, tuple[str, ...]] = field(default_factory=dict)
    upload_host: str = ""
    """Where uploads are to be sent; empty: here, by a relative URL."""
    least_chunk: int = 0
    page: int = 0
    """Tags that are listed at once; 0: all of them."""

    def revoke(self) -> None:
        """Forget all tokens, as when they end."""
        self.tokens.clear()

    def put(self, repository: str, tag: str, media_type: str, data: bytes) -> str:
        """Have a manifest from the start; return its digest."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        for name in (tag, digest):
            self.manifests[repository, name] = (media_type, data)
        return digest

    def put_blob(self, repository: str, data: bytes) -> str:
        """Have a blob from the start; return its digest."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[repository, digest] = data
        return digest

    def serve(self, handler: Handler) -> None:
        path, _, query = handler.path.partition("?")
        fields = dict(urllib.parse.parse_qsl(query))
        if path == "/token":
            self._serve_token(handler, urllib.parse.parse_qs(query))
        elif not path.startswith("/v2/"):
            super().serve(handler)
        elif not self._admits(handler, path):
            handler.read_body()
            self._challenge(handler)
        elif match := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path):
            self._serve_manifest(handler, match[1], match[2])
        elif match := re.fullmatch(r"/v2/(.+)/tags/list", path):
            self._serve_tags(handler, match[1], fields)
        elif match := re.fullmatch(r"/v2/(.+)/blobs/uploads/(.*)", path):
            self._serve_upload(handler, match[1], match[2], fields)
        elif match := re.fullmatch(r"/v2/(.+)/blobs/([^/]+)", path):
            data = self.blobs.get((match[1], match[2]))
            if data is None:
                self._refuse(handler, 404, "BLOB_UNKNOWN")
            else:
                handler.reply(200, data, {**_VERSION, "Docker-Content-Digest": match[2]})
        else:
            handler.reply(200, b"{}", {**_VERSION, "Content-Type": "application/json"})

    def _serve_tags(self, handler: Handler, repository: str, fields: dict[str, str]) -> None:
        tags = sorted(t for r, t in self.manifests if r == repository and ":" not in t)
        if not tags:
            self._refuse(handler, 404, "NAME_UNKNOWN")
            return
        more = {}
        if self.page:
            tags = [tag for tag in tags if tag > fields.get("last", "")]
            if len(tags) > self.page:
                tags = tags[: self.page]
                url = f"/v2/{repository}/tags/list?last={tags[-1]}&n={self.page}"
                more = {"Link": f'<{url}>; rel="next"'}
        body = json.dumps({"name": repository, "tags": tags}).encode()
        handler.reply(200, body, {**_VERSION, "Content-Type": "application/json", **more})

    def _serve_manifest(self, handler: Handler, repository: str, reference: str) -> None:
        body = handler.read_body()
        if handler.command == "PUT":
            digest = self.put(repository, reference, handler.headers["Content-Type"], body)
            handler.reply(201, b"", {**_VERSION, "Docker-Content-Digest": digest})
            return
        if handler.command == "DELETE":
            gone = [key for key in self.manifests if key == (repository, reference)]
            for key in gone:
                del self.manifests[key]
            handler.reply(202 if gone else 404, b"", _VERSION)
            return
        media_type, data = self.manifests.get((repository, reference), ("", b""))
        if not data:
            self._refuse(handler, 404, "MANIFEST_UNKNOWN")
            return
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        said = {**_VERSION, "Content-Type": media_type, "Docker-Content-Digest": digest}
        handler.reply(200, data, said)

    def _serve_upload(
        self, handler: Handler, repository: str, name: str, fields: dict[str, str]
    ) -> None:
        if handler.command == "GET":
            self._serve_status(handler, repository, name)
            return
        body = handler.read_body()
        if handler.command == "POST":
            wanted = (fields.get("from", ""), fields.get("mount", ""))
            if wanted in self.blobs:
                self.blobs[repository, wanted[1]] = self.blobs[wanted]
                handler.reply(201, b"", {"Docker-Content-Digest": wanted[1]})
                return
            name = secrets.token_hex(8)
            self.uploads[name] = b""
        elif name not in self.uploads:
            self._refuse(handler, 404, "BLOB_UPLOAD_UNKNOWN")
            return
        first = re.match(r"(\d+)-", handler.headers.get("Content-Range", ""))
        if first and int(first[1]) != len(self.uploads[name]):
            self._refuse(handler, 416, "BLOB_UPLOAD_INVALID")
            return
        self.uploads[name] += body
        if handler.command != "PUT":
            more = {"OCI-Chunk-Min-Length": str(self.least_chunk)} if self.least_chunk else {}
            handler.reply(202, b"", {"Location": self._place(repository, name), **more})
            return
        data = self.uploads.pop(name)
        if "sha256:" + hashlib.sha256(data).hexdigest() != fields.get("digest"):
            self._refuse(handler, 400, "DIGEST_INVALID")
            return
        digest = self.put_blob(repository, data)
        handler.reply(201, b"", {"Docker-Content-Digest": digest, "Location": "/somewhere"})

    def _serve_status(self, handler: Handler, repository: str, name: str) -> None:
        if name not in self.uploads:
            self._refuse(handler, 404, "BLOB_UPLOAD_UNKNOWN")
            return
        last = max(0, len(self.uploads[name]) - 1)
        place = self._place(repository, name)
        handler.reply(204, b"", {"Location": place, "Range": f"0-{last}"})

    def _place(self, repository: str, name: str) -> str:
        return f"{self.upload_host}/v2/{repository}/blobs/uploads/{name}?state=a%20b"

    def keep_part(self, after: int) -> Act:
        """Keep `after` bytes of an upload, then drop the connection without an answer."""

        def act(handler: Handler) -> None:
            name = handler.path.partition("?")[0].rpartition("/")[2]
            self.uploads[name] += handler.rfile.read(after)
            handler.close_connection = True
            handler.connection.close()

        return act

    def lose_uploads(self, handler: Handler) -> None:
        """Forget all uploads, as a registry does that is restarted, and serve on."""
        self.uploads.clear()
        self.serve(handler)

    def _admits(self, handler: Handler, path: str) -> bool:
        kind, _, value = handler.headers.get("Authorization", "").partition(" ")
        if self.login == "basic":
            return kind == "Basic" and value == self._basic()
        if self.login == "bearer":
            granted = self.tokens.get(value, ()) if kind == "Bearer" else ()
            return path == "/v2/" or self._needs(handler) in granted
        return True

    def _needs(self, handler: Handler) -> str:
        """Return the scope, with one action, that a request needs."""
        match = re.match(r"/v2/(.+)/(?:manifests|blobs)/", handler.path)
        action = "pull" if handler.command in {"GET", "HEAD"} else "push"
        return f"repository:{match[1] if match else ''}:{action}"

    def _challenge(self, handler: Handler) -> None:
        header = 'Basic realm="envbuild, of a test"'
        if self.login == "bearer":
            scope = f',scope="{self._needs(handler)}"'
            header = f'Bearer realm="{self.url}/token",service="test"{scope}'
        self._refuse(handler, 401, "UNAUTHORIZED", {"WWW-Authenticate": header})

    def _serve_token(self, handler: Handler, fields: dict[str, list[str]]) -> None:
        body = urllib.parse.parse_qs(handler.read_body().decode())
        fields = fields or body
        kind, _, value = handler.headers.get("Authorization", "").partition(" ")
        known = (kind == "Basic" and value == self._basic()) or (
            fields.get("refresh_token") == [self.password]
        )
        if not known and (kind or "refresh_token" in fields):
            handler.reply(401, b'{"details": "incorrect username or password"}')
            return
        asked = [s for text in fields.get("scope", []) for s in text.split()]
        single = {
            f"{s.rpartition(':')[0]}:{a}" for s in asked for a in s.rpartition(":")[2].split(",")
        }
        token = secrets.token_urlsafe()
        single = {s for s in single if s.split(":")[1] not in self.forbidden}
        self.tokens[token] = tuple(single if known else single & self.anonymous)
        handler.reply(200, json.dumps({"token": token, "expires_in": 300}).encode())

    def _basic(self) -> str:
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def _refuse(
        self, handler: Handler, status: int, code: str, more: dict[str, str] | None = None
    ) -> None:
        body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
        handler.reply(
            status, body, {**_VERSION, "Content-Type": "application/json", **(more or {})}
        )


_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}


def make_tls(folder: Path, *names: str) -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS context, for loopback and `names`, and the file of its authority."""
    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost", *names).configure_cert(context)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return context, folder / "ca.pem"
