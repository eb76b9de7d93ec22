"""Promises of `oci.upload`: blobs arrive whole whatever registries do, and a name comes last."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from envbuild.errors import RegistryError
from envbuild.oci.answer import Transient
from envbuild.oci.descriptor import OCI_LAYER_GZIP, Descriptor
from envbuild.oci.reference import parse_reference
from envbuild.oci.store import Store
from envbuild.oci.transfer import push_image
from tests.oci.conftest import Open
from tests.oci.images import add_image
from tests.rig.registry import FaultyRegistry, RunningRegistry, make_tls
from tests.rig.scripted import Act, Handler, answer, cut, hang, through

HTML = b"<html><body>413 Content Too Large</body></html>"
JSON = "application/json"


def refusal(code: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": "said so"}]}).encode()


@pytest.fixture
def server(faulty_registry: FaultyRegistry) -> FaultyRegistry:
    """A shorter name."""
    return faulty_registry


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
    ids=["cut", "500", "503", "404"],
)
def test_a_lost_upload_begins_anew(
    server: FaultyRegistry, reach: Open, store: Store, trouble: Act
) -> None:
    server.script("PUT", "/blobs/uploads/", trouble)
    server.script("GET", "/blobs/uploads/", answer(404, refusal("BLOB_UPLOAD_UNKNOWN")))
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
    ranges = [s.headers["Content-Range"] for s in server.seen if "Content-Range" in s.headers]
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


def ranged(data: bytes, *, most: int) -> Act:
    """Give what is asked for, but no more than `most` bytes before the connection breaks."""

    def act(handler: Handler) -> None:
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        left = len(data) - start
        headers = {"Content-Length": str(left)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        handler.reply(206 if start else 200, data[start : start + most], headers)
        handler.close_connection = left > most

    return act


@pytest.mark.parametrize("knows", [True, False], ids=["ranges", "no-ranges"])
def test_a_broken_download_goes_on(
    server: FaultyRegistry, reach: Open, store: Store, knows: bool
) -> None:
    data = os.urandom(2_500_000)
    digest = server.put_blob("a", data)
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=len(data))
    if knows:
        server.script("GET", "/blobs/", ranged(data, most=300_000), forever=True)
    else:
        server.script("GET", "/blobs/", half(data), cut(), half(data))
    told: list[int] = []
    reach(server.host).fetch_blob("a", blob, store, got=told.append)
    assert store.read(digest) == data
    assert sum(told) == len(data)
    asked = [s.headers.get("Range") for s in server.seen if "/blobs/" in s.path]
    assert asked[0] is None
    # More often than a download that gets no further would be tried again.
    assert asked[1:] == (
        [f"bytes={n}-" for n in range(300_000, 2_500_000, 300_000)]
        if knows
        else ["bytes=1250000-"] * 3
    )


@pytest.mark.parametrize("place", ["bytes 5-9/10", "items 0-9/10", ""])
def test_another_part_than_was_asked_for_is_refused(
    server: FaultyRegistry, reach: Open, store: Store, place: str
) -> None:
    data = os.urandom(1000)
    digest = server.put_blob("a", data)
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=len(data))
    server.script("GET", "/blobs/", answer(206, data, Content_Range=place))
    with pytest.raises(RegistryError, match="answered 206") as caught:
        reach(server.host).fetch_blob("a", blob, store)
    assert caught.value.code == "registry.bad-answer"


@pytest.mark.registry
def test_a_real_registry_gives_the_rest_of_a_blob(
    registry: RunningRegistry, reach: Open, store: Store, tmp_path: Path
) -> None:
    data = os.urandom(3_000_000)
    digest, size = store.add(data)
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size)
    remote = reach(registry.host)
    remote.push_blob("tests/rest", blob, store)
    other = Store(tmp_path / "other")
    broken = False

    def got(size: int) -> None:
        nonlocal broken
        if not broken:
            broken = True
            raise Transient(RegistryError("registry.unreachable", "of a test"))

    remote.fetch_blob("tests/rest", blob, other, got=got)
    assert broken
    assert other.read(digest) == data


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
    image = add_image(store, os.urandom(50_000))
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
        reach(server.host, ca=ca).push_blob("a", blob, store)
        assert server.blobs["a", digest] == b"data"
