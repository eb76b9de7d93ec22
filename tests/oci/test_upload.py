"""Promises of `oci.upload` about long blobs: on from where it broke, and any registry's chunks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from envbuild.errors import RegistryError
from envbuild.oci import upload
from envbuild.oci.descriptor import OCI_LAYER_GZIP, Descriptor
from envbuild.oci.store import Store
from tests.oci.conftest import QUICK, Open
from tests.oci.images import add_image
from tests.oci.test_blobs import PUSH
from tests.rig.registry import FaultyRegistry, RunningRegistry
from tests.rig.scripted import Act, Handler, answer, cut, hang, through

UPLOADS = "/blobs/uploads/"
CHUNK = 1 << 20
SIZE = 3_500_000


@pytest.fixture
def server(faulty_registry: FaultyRegistry) -> FaultyRegistry:
    """A shorter name."""
    return faulty_registry


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what is longer than 1 MiB sent in chunks of 1 MiB."""
    monkeypatch.setattr(upload, "_CHUNKS", (CHUNK, CHUNK // 4))


Send = Callable[..., list[int]]


@pytest.fixture
def send(server: FaultyRegistry, reach: Open, store: Store) -> Send:
    """Return a function that sends a blob and checks that it arrived; it returns what was told."""

    def do(size: int = SIZE) -> list[int]:
        data = os.urandom(size)
        digest, _ = store.add(data)
        told: list[int] = []
        blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size)
        reach(server.host).push_blob("a", blob, store, sent=told.append)
        assert server.blobs["a", digest] == data
        assert sum(told) == size
        return told

    return do


def ranges(server: FaultyRegistry, method: str) -> list[str]:
    return [s.headers.get("Content-Range", "") for s in server.seen if s.method == method]


def test_a_broken_upload_goes_on_where_it_broke(server: FaultyRegistry, send: Send) -> None:
    server.script("PUT", UPLOADS, server.keep_part(1_200_000))
    send()
    assert server.count("POST") == 1
    assert ranges(server, "PUT") == ["", f"1200000-{SIZE - 1}"]


@pytest.mark.usefixtures("small_chunks")
def test_a_long_blob_goes_in_chunks(server: FaultyRegistry, send: Send) -> None:
    send()
    assert server.count("POST") == 1
    assert ranges(server, "PATCH") == ["0-1048575", "1048576-2097151", "2097152-3145727"]
    assert ranges(server, "PUT") == [f"3145728-{SIZE - 1}"]


@pytest.mark.usefixtures("small_chunks")
def test_a_broken_chunk_goes_on_where_it_broke(server: FaultyRegistry, send: Send) -> None:
    server.script("PATCH", UPLOADS, through, server.keep_part(400_000))
    send()
    assert server.count("POST") == 1
    assert ranges(server, "PATCH")[2] == "1448576-2497151"


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "trouble",
    [answer(500), answer(503, Retry_After="0"), cut(after=1000), hang],
    ids=["500", "503", "cut", "hang"],
)
def test_what_a_chunk_runs_into_costs_that_chunk_only(
    server: FaultyRegistry, send: Send, trouble: Act
) -> None:
    server.script("PATCH", UPLOADS, through, trouble)
    send()
    assert server.count("POST") == 1
    assert server.count("PATCH") == 4


@pytest.mark.usefixtures("small_chunks")
def test_an_upload_that_gets_further_each_time_is_not_given_up(
    server: FaultyRegistry, send: Send
) -> None:
    breaks = QUICK.attempts * 2
    server.script("PATCH", UPLOADS, *[server.keep_part(100_000)] * breaks)
    send()
    assert server.count("POST") == 1
    assert server.count("PATCH") > breaks


@pytest.mark.usefixtures("small_chunks")
def test_an_upload_that_gets_no_further_is_given_up(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    server.script("PATCH", UPLOADS, through, cut(after=1000), forever=True)
    digest, size = store.add(os.urandom(SIZE))
    told: list[int] = []
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size)
    with pytest.raises(RegistryError, match="cut the connection") as caught:
        reach(server.host).push_blob("a", blob, store, sent=told.append)
    assert caught.value.code == "registry.unreachable"
    assert server.count("PATCH") == 1 + QUICK.attempts
    assert sum(told) == 0


@pytest.mark.usefixtures("small_chunks")
def test_an_upload_that_the_registry_lost_begins_anew(server: FaultyRegistry, send: Send) -> None:
    server.script("PATCH", UPLOADS, through, server.lose_uploads)
    send()
    assert server.count("POST") == 2


@pytest.mark.usefixtures("small_chunks")
def test_a_registry_that_lost_an_upload_while_it_was_down(
    server: FaultyRegistry, send: Send
) -> None:
    server.script("PATCH", UPLOADS, through, answer(502))
    server.script("GET", UPLOADS, server.lose_uploads)
    send()
    assert server.count("POST") == 2


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "place", ["", "bytes", "0-99999999", "5-10", "x-y"], ids=["none", "unit", "long", "odd", "no"]
)
def test_a_place_that_makes_no_sense_is_not_gone_on_from(
    server: FaultyRegistry, send: Send, place: str
) -> None:
    server.script("PATCH", UPLOADS, through, answer(500))
    server.script("GET", UPLOADS, answer(204, Range=place))
    send()
    assert server.count("POST") == 2


@pytest.mark.usefixtures("small_chunks")
def test_a_wrong_place_is_noticed(server: FaultyRegistry, send: Send) -> None:
    server.script("PATCH", UPLOADS, through, answer(500))
    # It says that it has less than it has, and then doesn't want it again.
    server.script("GET", UPLOADS, answer(204, Range="0-9"))
    send()
    assert server.count("POST") == 2
    assert "" in ranges(server, "PUT")


@pytest.mark.usefixtures("small_chunks")
def test_a_slow_registry_is_waited_for(server: FaultyRegistry, send: Send) -> None:
    def slow(handler: Handler) -> None:
        time.sleep(QUICK.read / 2)
        server.serve(handler)

    for method in ("POST", "PATCH", "PUT"):
        server.script(method, UPLOADS, slow, forever=True)
    send()
    assert server.count("POST") == 1


@pytest.mark.usefixtures("small_chunks")
def test_a_registry_may_want_longer_chunks(server: FaultyRegistry, send: Send) -> None:
    server.least_chunk = 2_000_000
    send()
    assert ranges(server, "PATCH") == ["0-1999999"]
    assert ranges(server, "PUT") == [f"2000000-{SIZE - 1}"]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("status", [400, 405, 416, 501])
def test_a_registry_that_takes_no_chunks_gets_it_whole(
    server: FaultyRegistry, send: Send, status: int
) -> None:
    server.script("PATCH", UPLOADS, answer(status), forever=True)
    send()
    send()
    # The second time it is known.
    assert server.count("PATCH") == 1
    assert ranges(server, "PUT") == ["", ""]


@pytest.mark.usefixtures("small_chunks")
def test_a_limit_is_learnt_once(server: FaultyRegistry, send: Send) -> None:
    def limited(handler: Handler) -> None:
        if int(handler.headers["Content-Length"]) > CHUNK // 2:
            handler.read_body()
            handler.reply(413)
        else:
            server.serve(handler)

    for method in ("PUT", "PATCH"):
        server.script(method, UPLOADS, limited, forever=True)
    send()
    before = server.count("POST")
    send()
    assert server.count("POST") == before + 1


@pytest.mark.parametrize("trouble", [cut(), answer(504)], ids=["cut", "504"])
def test_a_blob_that_arrived_is_not_sent_again_for_a_lost_answer(
    server: FaultyRegistry, send: Send, trouble: Act
) -> None:
    def lose(handler: Handler) -> None:
        name = handler.path.partition("?")[0].rpartition("/")[2]
        server.put_blob("a", server.uploads.pop(name) + handler.read_body())
        trouble(handler)

    server.script("PUT", UPLOADS, lose)
    send()
    assert server.count("PUT") == 1
    assert server.count("POST") == 1


def test_a_killed_push_is_taken_up_by_the_next(server: FaultyRegistry, store: Store) -> None:
    arrived = threading.Event()

    def stop(handler: Handler) -> None:
        if arrived.is_set() or int(handler.headers["Content-Length"]) < 1_000_000:
            server.serve(handler)
            return
        handler.rfile.read(100_000)
        arrived.set()
        hang(handler)

    image = add_image(store, os.urandom(50_000), os.urandom(2_000_000), os.urandom(60_000))
    store.name("it", image)
    # The others arrive while the biggest hangs.
    server.script("PUT", UPLOADS, stop, forever=True)
    command = [sys.executable, "-c", PUSH, str(store.root), f"{server.host}/b:1"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
        assert arrived.wait(60)
        while len(server.blobs) < 3:
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    assert ("b", "1") not in server.manifests
    before = server.count("PUT", UPLOADS)
    subprocess.run(command, check=True)
    assert ("b", "1") in server.manifests
    # The big layer, and the configuration, which is sent without asking.
    assert server.count("PUT", UPLOADS) == before + 2


@pytest.mark.registry
@pytest.mark.usefixtures("small_chunks")
def test_a_real_registry_takes_chunks_and_loses_uploads(
    registry: RunningRegistry, reach: Open, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(SIZE)
    digest, _ = store.add(data)
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=SIZE)
    remote = reach(registry.host)
    sent = []
    broken = False

    def tell(size: int) -> None:
        nonlocal broken
        sent.append(size)
        if sum(sent) > 2_000_000 and not broken:
            broken = True
            raise ConnectionResetError("in the middle of the second chunk")

    remote.push_blob("tests/chunks", blob, store, sent=tell)
    assert broken
    assert sum(sent) == SIZE
    assert remote.read_blob("tests/chunks", digest) == data
