"""Promises of `oci.wire`: connections are kept, and http is told from https."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from envbuild.errors import RegistryError
from envbuild.oci.descriptor import OCI_MANIFEST, Descriptor
from tests.oci.conftest import Open
from tests.oci.fronts import Front
from tests.rig.registry import FaultyRegistry, make_tls
from tests.rig.scripted import Handler, cut, hang

BODY = b'{"schemaVersion":2,"config":{},"layers":[]}'
DIGEST = "sha256:" + hashlib.sha256(BODY).hexdigest()
FOUND = Descriptor(media_type=OCI_MANIFEST, digest=DIGEST, size=len(BODY))


@pytest.fixture
def server(faulty_registry: FaultyRegistry) -> FaultyRegistry:
    faulty_registry.put("a", "1", OCI_MANIFEST, BODY)
    return faulty_registry


def test_connections_are_kept(reach: Open) -> None:
    clients: list[object] = []

    class Counting(FaultyRegistry):
        def serve(self, handler: Handler) -> None:
            clients.append(handler.client_address)
            super().serve(handler)

    with Counting().running() as server:
        remote = reach(server.host)
        for number in range(20):
            assert remote.find_manifest("a", str(number)) is None
    assert len(clients) >= 20
    assert len(set(clients)) == 1


def test_a_silent_registry_is_asked_twice_and_no_more(server: FaultyRegistry, reach: Open) -> None:
    for method in ("GET", "HEAD"):
        server.script(method, "/", hang, forever=True)
    with pytest.raises(RegistryError) as caught:
        reach(server.host).find_manifest("a", "1")
    assert caught.value.code == "registry.timeout"
    assert len(server.seen) == 2


@pytest.mark.parametrize("says", [True, False], ids=["says-so", "drops"])
def test_a_loopback_registry_with_tls_is_noticed(
    tmp_path: Path, reach: Open, monkeypatch: pytest.MonkeyPatch, says: bool
) -> None:
    context, ca = make_tls(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca))
    with FaultyRegistry(tls=context).running() as server:
        assert isinstance(server, FaultyRegistry)
        server.put("a", "1", OCI_MANIFEST, BODY)
        if not says:
            assert reach(server.host).find_manifest("a", "1") == FOUND
            return
        with PlainOrTls(server.port).running() as front:
            assert reach(f"127.0.0.1:{front.port}").find_manifest("a", "1") == FOUND


class PlainOrTls(Front):
    """Passes TLS on to a port, and tells plain http off, as Go's servers and nginx do."""

    def serve(self, client: socket.socket) -> None:
        first = client.recv(65536)
        if first[:1] == b"\x16":
            self.connect(client, first)
        else:
            text = b"Client sent an HTTP request to an HTTPS server.\n"
            client.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n" + text)
            client.shutdown(socket.SHUT_RDWR)


def test_a_plain_registry_that_drops_a_connection_stays_plain(
    server: FaultyRegistry, reach: Open
) -> None:
    server.script("GET", "/v2/$", cut())
    assert reach(server.host).find_manifest("a", "1") == FOUND


ASK = """
import sys
from envbuild.oci.registry import open_registry
assert open_registry(sys.argv[1]).find_manifest("a", "1")
assert open_registry(sys.argv[1]).find_manifest("a", "2") is None
heavy = {"urllib3", "urllib.request", "requests", "docker"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""


def test_a_question_needs_no_heavy_library(server: FaultyRegistry) -> None:
    subprocess.run([sys.executable, "-c", ASK, server.host], check=True)
