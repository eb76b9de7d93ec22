"""Promises of `oci`: what real registries do is understood, and doubt is never a yes or a no."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envbuild.errors import RegistryError
from envbuild.oci.descriptor import OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor
from envbuild.oci.reference import parse_reference
from envbuild.oci.store import Store
from envbuild.oci.transfer import push_image
from tests.oci.conftest import QUICK, Open
from tests.oci.images import add_image
from tests.rig.registry import FaultyRegistry, make_tls
from tests.rig.scripted import Act, Handler, ScriptedServer, answer, cut, hang, through

MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {}, "layers": []})
BODY = MANIFEST.encode()
DIGEST = "sha256:" + hashlib.sha256(BODY).hexdigest()
FOUND = Descriptor(media_type=OCI_MANIFEST, digest=DIGEST, size=len(BODY))
HTML = b"<html><body>404 Not Found</body></html>"
JSON = "application/json"


def refusal(code: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": "said so"}]}).encode()


@pytest.fixture
def server(faulty_registry: FaultyRegistry) -> FaultyRegistry:
    faulty_registry.put("a", "1", OCI_MANIFEST, BODY)
    return faulty_registry


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (answer(401), "registry.unauthorised"),
        (answer(403, refusal("DENIED")), "registry.unauthorised"),
        (answer(429, Retry_After="0"), "registry.unavailable"),
        (answer(500), "registry.unavailable"),
        (answer(502, HTML, Content_Type="text/html"), "registry.unavailable"),
        (answer(507), "registry.unavailable"),
        (answer(418), "registry.bad-answer"),
        (answer(302, Location="/v2/a/manifests/1"), "registry.bad-answer"),
        (cut(), "registry.unreachable"),
        (hang, "registry.timeout"),
    ],
    ids=["401", "403", "429", "500", "502", "507", "418", "circle", "cut", "hang"],
)
@pytest.mark.parametrize("tag", ["1", "2"], ids=["there", "absent"])
def test_a_registry_that_can_not_tell_is_an_error_whether_or_not_it_is_there(
    server: FaultyRegistry, reach: Open, trouble: Act, code: str, tag: str
) -> None:
    for method in ("HEAD", "GET"):
        server.script(method, "/manifests/", trouble, forever=True)
    with pytest.raises(RegistryError, match=re.escape(server.host)) as caught:
        reach(server.host).find_manifest("a", tag)
    assert caught.value.code == code
    assert caught.value.hint


def test_a_closed_port_is_an_error(reach: Open) -> None:
    with pytest.raises(RegistryError, match="refused the connection") as caught:
        reach("127.0.0.1:1").find_manifest("a", "1")
    assert caught.value.code == "registry.unreachable"


def test_a_host_without_an_address_is_an_error(reach: Open) -> None:
    with pytest.raises(RegistryError) as caught:
        reach("registry.invalid").find_manifest("a", "1")
    assert caught.value.code in {"registry.unreachable", "registry.timeout"}


@pytest.mark.parametrize(
    "trouble",
    [answer(500), answer(503), answer(429, Retry_After="0"), cut()],
    ids=["500", "503", "429", "cut"],
)
def test_what_passes_is_waited_for(server: FaultyRegistry, reach: Open, trouble: Act) -> None:
    server.script("HEAD", "/manifests/", trouble, trouble)
    assert reach(server.host).find_manifest("a", "1") == FOUND
    assert server.count("HEAD", "/manifests/") == 3


def test_trying_again_has_an_end(server: FaultyRegistry, reach: Open) -> None:
    server.script("HEAD", "/manifests/", answer(503), forever=True)
    with pytest.raises(RegistryError):
        reach(server.host).find_manifest("a", "1")
    assert server.count("HEAD", "/manifests/") == QUICK.attempts


def test_the_servers_own_words_are_passed_on(server: FaultyRegistry, reach: Open) -> None:
    server.script("PUT", "/manifests/", answer(400, refusal("TAG_INVALID")))
    with pytest.raises(RegistryError, match=r"answered 400 .*: said so"):
        reach(server.host).push_manifest("a", "2", OCI_MANIFEST, BODY)


@pytest.mark.parametrize("status", [405, 400, 501])
def test_a_registry_without_head_is_asked_with_get(
    server: FaultyRegistry, reach: Open, status: int
) -> None:
    server.script("HEAD", "/", answer(status), forever=True)
    remote = reach(server.host)
    assert remote.find_manifest("a", "1") == FOUND
    assert remote.find_manifest("a", "2") is None
    # Then a blob is sent without asking: twice is no harm.
    assert remote.has_blob("a", DIGEST) is False


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": OCI_MANIFEST, "Content_Length": str(len(BODY))},
        {"Docker_Content_Digest": DIGEST, "Content_Length": str(len(BODY))},
        {"Docker_Content_Digest": DIGEST, "Content_Type": OCI_MANIFEST, "Content_Length": "0"},
        {
            "Docker_Content_Digest": "sha512:" + "0" * 128,
            "Content_Type": OCI_MANIFEST,
            "Content_Length": str(len(BODY)),
        },
    ],
    ids=["no-digest", "no-type", "no-size", "other-algorithm"],
)
def test_a_head_that_tells_too_little_is_followed_by_a_get(
    server: FaultyRegistry, reach: Open, headers: dict[str, str]
) -> None:
    server.script("HEAD", "/manifests/", answer(200, **headers))
    assert reach(server.host).find_manifest("a", "1") == FOUND


@pytest.mark.parametrize(
    "trouble",
    [
        answer(404, HTML, Content_Type="text/html"),
        answer(404, b'{"detail":"Not Found"}', Content_Type=JSON),
        answer(404),
        answer(404, refusal("NAME_UNKNOWN"), Content_Type=JSON),
    ],
    ids=["html", "json", "empty", "name-unknown"],
)
def test_not_found_in_any_words_is_believed_of_a_registry(
    server: FaultyRegistry, reach: Open, trouble: Act
) -> None:
    for method in ("HEAD", "GET"):
        server.script(method, "/manifests/", trouble, forever=True)
    assert reach(server.host).find_manifest("a", "1") is None


@pytest.mark.parametrize(
    "page",
    [answer(404, HTML, Content_Type="text/html"), answer(200, HTML, Content_Type="text/html")],
)
def test_not_found_is_not_believed_of_another_server(reach: Open, page: Act) -> None:
    with ScriptedServer().running() as server:
        server.script("GET", "/v2/$", page, forever=True)
        with pytest.raises(RegistryError) as caught:
            reach(server.host).find_manifest("a", "1")
    assert caught.value.code == "registry.not-a-registry"


@pytest.mark.parametrize("code", ["NOT_FOUND", "NAME_UNKNOWN"])
def test_an_internal_error_that_means_not_found_is_understood(
    server: FaultyRegistry, reach: Open, code: str
) -> None:
    for method in ("HEAD", "GET"):
        server.script(method, "/manifests/", answer(500, refusal(code)), forever=True)
    assert reach(server.host).find_manifest("a", "1") is None
    assert server.count("HEAD", "/manifests/") == 1


def test_an_internal_error_that_passes_meanwhile_is_no_absence(
    server: FaultyRegistry, reach: Open
) -> None:
    server.script("HEAD", "/manifests/", answer(500), through)
    assert reach(server.host).find_manifest("a", "1") == FOUND


def test_a_manifest_of_another_digest_is_refused(server: FaultyRegistry, reach: Open) -> None:
    other = "sha256:" + "1" * 64
    server.manifests["a", other] = (OCI_MANIFEST, BODY)
    remote = reach(server.host)
    for ask in (remote.find_manifest, remote.read_manifest):
        with pytest.raises(RegistryError) as caught:
            ask("a", other)
        assert caught.value.code == "registry.wrong-digest"


def test_a_header_of_another_digest_is_refused(server: FaultyRegistry, reach: Open) -> None:
    headers = {"Content_Type": OCI_MANIFEST, "Docker_Content_Digest": "sha256:" + "1" * 64}
    server.script("GET", "/manifests/", answer(200, BODY, **headers))
    with pytest.raises(RegistryError) as caught:
        reach(server.host).read_manifest("a", "1")
    assert caught.value.code == "registry.wrong-digest"


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"schemaVersion":2,"manifests":[]}', OCI_INDEX),
        (b'{"schemaVersion":2,"config":{},"layers":[]}', OCI_MANIFEST),
        (BODY, OCI_MANIFEST),
    ],
)
def test_a_manifest_says_itself_what_it_is(
    server: FaultyRegistry, reach: Open, body: bytes, wanted: str
) -> None:
    server.script("GET", "/manifests/", answer(200, body, Content_Type="text/plain"))
    assert reach(server.host).read_manifest("a", "1")[0].media_type == wanted


@pytest.mark.parametrize("body", [b"", HTML, b"[]", b'{"schemaVersion":1,"fsLayers":[]}'])
def test_what_is_no_manifest_is_refused(server: FaultyRegistry, reach: Open, body: bytes) -> None:
    server.script("GET", "/manifests/", answer(200, body, Content_Type="text/plain"))
    with pytest.raises(RegistryError) as caught:
        reach(server.host).read_manifest("a", "1")
    assert caught.value.code == "manifest.unknown"


def test_an_endless_manifest_is_not_read_to_its_end(server: FaultyRegistry, reach: Open) -> None:
    server.script("GET", "/manifests/", answer(200, b" " * (5 << 20)))
    with pytest.raises(RegistryError, match="more than 4 MiB") as caught:
        reach(server.host).read_manifest("a", "1")
    assert caught.value.code == "registry.bad-answer"


def test_a_manifest_stored_differently_is_noticed(server: FaultyRegistry, reach: Open) -> None:
    wrong = answer(201, Docker_Content_Digest="sha256:" + "1" * 64)
    server.script("PUT", "/manifests/", wrong)
    with pytest.raises(RegistryError) as caught:
        reach(server.host).push_manifest("a", "2", OCI_MANIFEST, BODY)
    assert caught.value.code == "registry.wrong-digest"


def test_a_registry_that_learns_of_a_blob_late_is_waited_for(
    server: FaultyRegistry, reach: Open
) -> None:
    late = answer(400, refusal("MANIFEST_BLOB_UNKNOWN"), Content_Type=JSON)
    server.script("PUT", "/manifests/", late, late)
    assert reach(server.host).push_manifest("a", "2", OCI_MANIFEST, BODY) == DIGEST


def push(server: FaultyRegistry, reach: Open, store: Store, data: bytes) -> Descriptor:
    """Send one blob; check that it arrived."""
    digest, size = store.add(data)
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size)
    told: list[int] = []
    reach(server.host).push_blob("a", blob, store, sent=told.append)
    assert server.blobs["a", digest] == data
    assert sum(told) == size
    return blob


@pytest.mark.parametrize("size", [0, 1, 1_000_000, 3_500_000])
def test_a_blob_arrives(server: FaultyRegistry, reach: Open, store: Store, size: int) -> None:
    push(server, reach, store, os.urandom(size))


@pytest.mark.parametrize(
    "trouble",
    [cut(after=300_000), answer(500), answer(503, Retry_After="0"), answer(404)],
    ids=["cut", "500", "503", "forgotten"],
)
def test_a_lost_upload_begins_anew(
    server: FaultyRegistry, reach: Open, store: Store, trouble: Act
) -> None:
    server.script("PUT", "/blobs/uploads/", trouble)
    push(server, reach, store, os.urandom(2_000_000))
    assert server.count("POST", "/blobs/uploads/") == 2


def test_an_upload_that_never_works_is_given_up(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    server.script("PUT", "/blobs/uploads/", cut(after=1000), forever=True)
    image = add_image(store, os.urandom(2_000_000))
    with pytest.raises(RegistryError, match="cut the connection") as caught:
        push_image(store, image, parse_reference(f"{server.host}/b:1"), reach(server.host))
    assert caught.value.code == "registry.unreachable"
    assert ("b", "1") not in server.manifests


def test_an_absolute_place_for_uploads_will_do(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    server.upload_host = server.url
    push(server, reach, store, b"data")
    assert server.count("PUT", r"\?state=a%20b&digest=sha256%3A[0-9a-f]{64}$") == 1


def test_an_upload_is_redirected_with_its_body(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    with FaultyRegistry().running() as storage:
        assert isinstance(storage, FaultyRegistry)
        storage.script("PUT", "/here", answer(201))
        server.script("PUT", "/blobs/uploads/", answer(307, Location=f"{storage.url}/here"))
        digest, size = store.add(b"data")
        blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size)
        reach(server.host).push_blob("a", blob, store)
        assert storage.seen[0].headers["Content-Length"] == "4"


def test_accepted_is_checked_to_be_there(server: FaultyRegistry, reach: Open, store: Store) -> None:
    def accept(handler: Handler) -> None:
        data = handler.read_body()
        server.put_blob("a", data)
        handler.reply(202)

    server.script("PUT", "/blobs/uploads/", answer(202), accept)
    push(server, reach, store, b"data")
    assert server.count("PUT", "/blobs/uploads/") == 2


def test_a_blob_too_large_for_one_request_goes_in_chunks(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    limit = 1 << 20

    def limited(handler: Handler) -> None:
        if int(handler.headers["Content-Length"]) > limit:
            handler.read_body()
            handler.reply(413, HTML)
        else:
            server.serve(handler)

    for method in ("PUT", "PATCH"):
        server.script(method, "/blobs/uploads/", limited, forever=True)
    push(server, reach, store, os.urandom(2_500_000))
    ranges = [s.headers["Content-Range"] for s in server.seen if s.method == "PATCH"]
    assert ranges[-3:] == ["0-1048575", "1048576-2097151", "2097152-2499999"]


def test_a_blob_too_large_for_any_request_is_an_error(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    for method in ("PUT", "PATCH"):
        server.script(method, "/blobs/uploads/", answer(413), forever=True)
    digest, size = store.add(b"data")
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size)
    with pytest.raises(RegistryError, match="413") as caught:
        reach(server.host).push_blob("a", blob, store)
    assert caught.value.code == "registry.bad-answer"


def test_bytes_that_were_changed_on_their_way_are_noticed(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    refused = answer(400, refusal("DIGEST_INVALID"), Content_Type=JSON)
    server.script("PUT", "/blobs/uploads/", refused)
    digest, size = store.add(b"data")
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size)
    with pytest.raises(RegistryError, match="got other bytes") as caught:
        reach(server.host).push_blob("a", blob, store)
    assert caught.value.code == "registry.wrong-digest"


def test_another_blobs_digest_in_the_answer_is_noticed(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    wrong = answer(201, Docker_Content_Digest="sha256:" + "1" * 64)
    server.script("PUT", "/blobs/uploads/", wrong)
    digest, size = store.add(b"data")
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size)
    with pytest.raises(RegistryError) as caught:
        reach(server.host).push_blob("a", blob, store)
    assert caught.value.code == "registry.wrong-digest"


def half(data: bytes) -> Act:
    """Promise all of `data`, send half of it, and drop the connection."""

    def act(handler: Handler) -> None:
        handler.reply(200, data[: len(data) // 2], {"Content-Length": str(len(data))})
        handler.close_connection = True

    return act


def test_a_broken_download_begins_anew(server: FaultyRegistry, reach: Open, store: Store) -> None:
    data = os.urandom(2_500_000)
    digest = server.put_blob("a", data)
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=len(data))
    server.script("GET", "/blobs/", half(data), cut())
    told: list[int] = []
    reach(server.host).fetch_blob("a", blob, store, got=told.append)
    assert store.read(digest) == data
    assert sum(told) == len(data)


@pytest.mark.parametrize("size", [10, 5_000_000], ids=["short", "long"])
def test_a_download_of_other_bytes_does_not_get_in(
    server: FaultyRegistry, reach: Open, store: Store, size: int
) -> None:
    digest = server.put_blob("a", b"right" * 100)
    server.blobs["a", digest] = os.urandom(size)
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=500)
    with pytest.raises(RegistryError) as caught:
        reach(server.host).fetch_blob("a", blob, store)
    assert caught.value.code == "registry.wrong-digest"
    assert [p.name for p in store.root.glob("blobs/sha256/*")] == []
    assert [p.name for p in store.root.glob("blobs/sha256/.*")] == []


def test_one_failed_blob_ends_the_push_without_a_name(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    image = add_image(store, *(os.urandom(50_000) for _ in range(8)))
    server.script("PUT", "/blobs/uploads/", through, through, answer(400), forever=True)
    with pytest.raises(RegistryError) as caught:
        push_image(store, image, parse_reference(f"{server.host}/b:1"), reach(server.host))
    assert caught.value.code == "registry.bad-answer"
    assert server.count("PUT", "/manifests/") == 0


def test_a_blob_that_the_registry_can_not_tell_of_ends_the_push(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    image = add_image(store, b"one")
    server.script("HEAD", "/blobs/", answer(500), forever=True)
    with pytest.raises(RegistryError) as caught:
        push_image(store, image, parse_reference(f"{server.host}/b:1"), reach(server.host))
    assert caught.value.code == "registry.unavailable"
    assert server.count("POST") == 0


def test_several_blobs_are_under_way_at_once(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    barrier = threading.Barrier(4, timeout=30)

    def together(handler: Handler) -> None:
        barrier.wait()
        server.serve(handler)

    server.script("PUT", "/blobs/uploads/", together, together, together, together)
    image = add_image(store, *(os.urandom(5_000) for _ in range(5)))
    push_image(store, image, parse_reference(f"{server.host}/b:1"), reach(server.host))
    assert ("b", "1") in server.manifests


PUSH = """
import sys
from pathlib import Path
from envbuild.oci.reference import parse_reference
from envbuild.oci.registry import open_registry
from envbuild.oci.store import Store
from envbuild.oci.transfer import push_image
store = Store(Path(sys.argv[1]))
reference = parse_reference(sys.argv[2])
push_image(store, store.find("it"), reference, open_registry(reference.registry))
"""


def test_ctrl_c_ends_a_push_to_a_silent_registry(server: FaultyRegistry, store: Store) -> None:
    asked = threading.Event()

    def silent(handler: Handler) -> None:
        asked.set()
        hang(handler)

    server.script("PUT", "/blobs/uploads/", silent, forever=True)
    store.name("it", add_image(store, b"one", b"two"))
    command = [sys.executable, "-c", PUSH, str(store.root), f"{server.host}/b:1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as child:
        assert asked.wait(60)
        child.send_signal(signal.SIGINT)
        # Without care it would wait for the registry, a minute for each attempt.
        _, stderr = child.communicate(timeout=40)
    assert b"KeyboardInterrupt" in stderr
    assert server.count("PUT", "/manifests/") == 0


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


class PlainOrTls:
    """Passes TLS on to a port, and tells plain http off, as Go's servers and nginx do."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port = self._listener.getsockname()[1]

    @contextlib.contextmanager
    def running(self) -> Iterator[PlainOrTls]:
        self._start(self._serve)
        try:
            yield self
        finally:
            for end in (self._listener, *self._ends):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            for thread in self._threads:
                thread.join(10)
            for end in (self._listener, *self._ends):
                end.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._ends.append(client)
                first = client.recv(65536)
                if first[:1] == b"\x16":
                    back = socket.create_connection(("127.0.0.1", self._target))
                    self._ends.append(back)
                    back.sendall(first)
                    self._start(self._copy, client, back)
                    self._start(self._copy, back, client)
                else:
                    text = b"Client sent an HTTP request to an HTTPS server.\n"
                    client.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n" + text)
                    client.shutdown(socket.SHUT_RDWR)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)


def test_a_plain_registry_that_drops_a_connection_stays_plain(
    server: FaultyRegistry, reach: Open
) -> None:
    server.script("GET", "/v2/$", cut())
    assert reach(server.host).find_manifest("a", "1") == FOUND


def test_a_proxy_that_ends_tls_does_not_lead_uploads_astray(
    tmp_path: Path, reach: Open, store: Store
) -> None:
    context, ca = make_tls(tmp_path)
    with FaultyRegistry(tls=context).running() as server:
        assert isinstance(server, FaultyRegistry)
        # The registry behind the proxy doesn't know that it is spoken to over TLS.
        server.upload_host = "http://127.0.0.1"
        digest, size = store.add(b"data")
        blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size)
        assert reach(server.host, ca=ca).push_blob("a", blob, store) == "sent"
        assert server.blobs["a", digest] == b"data"
