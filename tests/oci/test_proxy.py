"""Promises of `oci.connection`: registries are reached through the proxies that are in use."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
from pathlib import Path

import pytest

from envbuild.errors import RegistryError
from envbuild.oci.descriptor import OCI_MANIFEST
from tests.oci.conftest import Open
from tests.oci.fronts import Front
from tests.rig.registry import FaultyRegistry, make_tls
from tests.rig.scripted import Handler, answer, cut

HOST = "registry.example.com"
BODY = b'{"schemaVersion":2,"config":{},"layers":[]}'
DIGEST = "sha256:" + hashlib.sha256(BODY).hexdigest()


class ConnectProxy(Front):
    """A proxy that connects everything to one port, and remembers what it was asked."""

    def __init__(self, target: int, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(target)
        self._tls = tls
        self.heads: list[str] = []
        self.status = "200 OK"
        self.url = f"{'https' if tls else 'http'}://me:p%40ss@127.0.0.1:{self.port}"

    def wrap(self, client: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(client, server_side=True) if self._tls else client

    def serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(1)
        self.heads.append(head.decode())
        client.sendall(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
        if self.status.startswith("200"):
            self.connect(client)
        else:
            client.close()


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_registry_is_reached_through_a_proxy(
    tmp_path: Path, reach: Open, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    context, ca = make_tls(tmp_path, HOST)
    with FaultyRegistry(tls=context).running() as server:
        assert isinstance(server, FaultyRegistry)
        server.put("a", "1", OCI_MANIFEST, BODY)
        with ConnectProxy(server.port, context if scheme == "https" else None).running() as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            remote = reach(HOST, ca=ca)
            for _ in range(3):
                assert remote.read_manifest("a", "1")[1] == BODY
            # One connection, kept; the login is for the proxy and not for the registry.
            (head,) = proxy.heads
            assert head.startswith(f"CONNECT {HOST}:443 HTTP/1.")
            login = base64.b64encode(b"me:p@ss").decode()
            assert f"Proxy-Authorization: Basic {login}" in head
            assert not any("Proxy-Authorization" in seen.headers for seen in server.seen)
            assert not any("Authorization" in seen.headers for seen in server.seen)
            assert server.seen[0].headers["Host"] == HOST


@pytest.mark.usefixtures("no_proxies")
def test_a_plain_registry_is_reached_through_a_proxy(
    reach: Open, monkeypatch: pytest.MonkeyPatch, faulty_registry: FaultyRegistry
) -> None:
    def serve(handler: Handler) -> None:
        handler.path = handler.path.removeprefix(f"http://{HOST}:5000")
        faulty_registry.serve(handler)

    faulty_registry.put("a", "1", OCI_MANIFEST, BODY)
    faulty_registry.script("HEAD", "^http://", serve, forever=True)
    monkeypatch.setenv("HTTP_PROXY", f"http://me:pw@{faulty_registry.host}")
    found = reach(f"{HOST}:5000", plain_http=True).find_manifest("a", "1")
    assert found is not None
    assert found.digest == DIGEST
    (seen,) = faulty_registry.seen
    assert seen.path == f"http://{HOST}:5000/v2/a/manifests/1"
    assert seen.headers["Host"] == f"{HOST}:5000"
    assert seen.headers["Proxy-Authorization"] == "Basic bWU6cHc="


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway", None])
def test_a_proxy_that_does_not_connect_is_named(
    reach: Open, monkeypatch: pytest.MonkeyPatch, status: str | None
) -> None:
    with ConnectProxy(1).running() as proxy:
        proxy.status = status or ""
        monkeypatch.setenv("HTTPS_PROXY", proxy.url if status else "http://127.0.0.1:1")
        with pytest.raises(RegistryError, match="proxy") as caught:
            reach(HOST).find_manifest("a", "1")
    assert caught.value.code == "registry.unreachable"
    assert "NO_PROXY" in str(caught.value.hint)
    assert "p@ss" not in str(caught.value)


@pytest.mark.usefixtures("no_proxies")
def test_an_excepted_registry_is_reached_directly(
    reach: Open, monkeypatch: pytest.MonkeyPatch, faulty_registry: FaultyRegistry
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{faulty_registry.host}")
    monkeypatch.setenv("NO_PROXY", "192.0.2.0/24,.invalid")
    with pytest.raises(RegistryError):
        reach("registry.invalid").find_manifest("a", "1")
    assert faulty_registry.seen == []


def test_a_connection_that_was_closed_meanwhile_is_not_used(
    reach: Open, faulty_registry: FaultyRegistry
) -> None:
    faulty_registry.put("a", "1", OCI_MANIFEST, BODY)
    remote = reach(faulty_registry.host)
    assert remote.find_manifest("a", "1")

    def close(handler: Handler) -> None:
        faulty_registry.serve(handler)
        handler.close_connection = True

    faulty_registry.script("HEAD", "/manifests/", *[close] * 5)
    before = faulty_registry.count("HEAD")
    for _ in range(6):
        assert remote.find_manifest("a", "1")
    assert faulty_registry.count("HEAD") == before + 6


def test_a_packed_answer_is_unpacked(reach: Open, faulty_registry: FaultyRegistry) -> None:
    import gzip

    def pack(handler: Handler) -> None:
        headers = {"Content-Type": OCI_MANIFEST, "Content-Encoding": "gzip"}
        handler.reply(200, gzip.compress(BODY), headers)

    faulty_registry.script("GET", "/manifests/", pack)
    assert reach(faulty_registry.host).read_manifest("a", "1")[1] == BODY


def test_where_no_address_leads_is_an_error(reach: Open, faulty_registry: FaultyRegistry) -> None:
    odd = "http://h\u00fc..example.com/x"
    for place in ("ftp://h.example.com/x", "http://h.example.com:99999/x", "http:///x", odd):
        faulty_registry.script("GET", "/manifests/", answer(302, Location=place), forever=True)
        with pytest.raises(RegistryError) as caught:
            reach(faulty_registry.host).read_manifest("a", "1")
        assert caught.value.code == "registry.unreachable"


def test_an_odd_place_is_asked_as_it_is_meant(reach: Open, faulty_registry: FaultyRegistry) -> None:
    place = "/v2/odd place?a=%20|b&c=\u00fc"
    faulty_registry.script("GET", "/manifests/", answer(302, Location=place))
    faulty_registry.script("GET", "/odd", answer(200, BODY, Content_Type=OCI_MANIFEST))
    assert reach(faulty_registry.host).read_manifest("a", "1")[1] == BODY
    assert faulty_registry.count("GET", r"/v2/odd%20place\?a=%20\|b&c=%C3%BC$") == 1


def test_half_an_answer_is_no_answer(reach: Open, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.put("a", "1", OCI_MANIFEST, BODY)

    def half(handler: Handler) -> None:
        headers = {"Content-Type": OCI_MANIFEST, "Content-Length": str(len(BODY))}
        handler.reply(200, BODY[:10], headers)
        handler.close_connection = True

    faulty_registry.script("GET", "/manifests/", half, cut())
    assert reach(faulty_registry.host).read_manifest("a", "1")[1] == BODY
    assert faulty_registry.count("GET", "/manifests/") == 3
