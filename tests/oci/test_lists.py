"""Promises of `oci.registry` about many manifests: read at once, listed page by page, deleted."""

from __future__ import annotations

import hashlib
import json
import threading
import uuid

import pytest

from envbuild.errors import RegistryError
from envbuild.oci.descriptor import OCI_CONFIG, OCI_MANIFEST, Descriptor
from envbuild.oci.store import Store
from tests.oci.conftest import Open
from tests.rig.registry import FaultyRegistry, RunningRegistry
from tests.rig.scripted import Act, Handler, answer


@pytest.fixture
def server(faulty_registry: FaultyRegistry) -> FaultyRegistry:
    """A shorter name."""
    return faulty_registry


def make_manifest(number: int) -> bytes:
    return json.dumps({"schemaVersion": 2, "config": {"n": number}, "layers": []}).encode()


def fill(server: FaultyRegistry, count: int) -> list[str]:
    tags = [f"{number:040x}" for number in range(count)]
    for number, tag in enumerate(tags):
        server.put("a", tag, OCI_MANIFEST, make_manifest(number))
    return tags


def test_many_manifests_are_read_at_once_and_absence_is_an_answer(
    server: FaultyRegistry, reach: Open
) -> None:
    tags = fill(server, 20)
    barrier = threading.Barrier(8, timeout=30)

    def together(handler: Handler) -> None:
        barrier.wait()
        server.serve(handler)

    server.script("GET", "/manifests/", *[together] * 8)
    found = reach(server.host).read_manifests("a", [*tags, "absent"])
    assert [data for _, data in filter(None, found)] == [make_manifest(n) for n in range(20)]
    assert found[-1] is None


def test_absence_is_told_from_not_knowing(server: FaultyRegistry, reach: Open) -> None:
    remote = reach(server.host)
    assert remote.read_manifest_if_any("none", "1") is None
    server.script("GET", "/manifests/", answer(500), forever=True)
    with pytest.raises(RegistryError) as caught:
        remote.read_manifests("none", ["1", "2"])
    assert caught.value.code == "registry.unavailable"


@pytest.mark.parametrize("page", [0, 1, 7, 20, 100])
def test_all_tags_are_listed_page_by_page(server: FaultyRegistry, reach: Open, page: int) -> None:
    tags = fill(server, 20)
    server.page = page
    assert list(reach(server.host).list_tags("a")) == tags


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (answer(200, b'{"name":"a","tags":null}'), ()),
        (answer(200, b'{"name":"a"}'), ()),
        (answer(200, b'{"name":"a","tags":["2","1"]}', Link='</v2/a/x>; rel="prev"'), ("1", "2")),
        # One that gives the first page for every other.
        (
            answer(200, b'{"tags":["1"]}', Link='</v2/a/tags/list?n=1000>; rel="next"'),
            ("1",),
        ),
        (answer(404), ()),
    ],
    ids=["null", "none", "prev", "circle", "absent"],
)
def test_lists_of_tags_in_other_words(
    server: FaultyRegistry, reach: Open, reply: Act, wanted: tuple[str, ...]
) -> None:
    server.script("GET", "/tags/list", reply, forever=True)
    assert reach(server.host).list_tags("a") == wanted


@pytest.mark.parametrize("link", ['<{}>; rel="next"', "<{}>;rel=next", '<{}>; n="1"; rel="next"'])
def test_the_next_page_may_be_named_in_any_way(
    server: FaultyRegistry, reach: Open, link: str
) -> None:
    for base in ("", server.url):
        pages = [
            answer(200, b'{"tags":["1"]}', Link=link.format(f"{base}/v2/a/tags/list?last=1")),
            answer(200, b'{"tags":["2"]}'),
        ]
        server.script("GET", "/tags/list", *pages)
        assert reach(server.host).list_tags("a") == ("1", "2")


@pytest.mark.parametrize("status", [401, 403, 418, 500])
def test_a_list_that_can_not_be_had_is_an_error(
    server: FaultyRegistry, reach: Open, status: int
) -> None:
    server.script("GET", "/tags/list", answer(status), forever=True)
    with pytest.raises(RegistryError):
        reach(server.host).list_tags("a")


@pytest.mark.parametrize("page", [b'{"tags":{"1":2}}', b"[]", b"<html>"])
def test_a_page_of_something_else_is_no_list(
    server: FaultyRegistry, reach: Open, page: bytes
) -> None:
    server.script("GET", "/tags/list", answer(200, page))
    with pytest.raises(RegistryError, match="no list of tags") as caught:
        reach(server.host).list_tags("a")
    assert caught.value.code == "registry.bad-answer"


def test_a_manifest_is_deleted(server: FaultyRegistry, reach: Open) -> None:
    digest = server.put("a", "1", OCI_MANIFEST, make_manifest(1))
    remote = reach(server.host)
    assert remote.delete_manifest("a", digest) is True
    assert remote.delete_manifest("a", digest) is False
    with pytest.raises(RegistryError):
        remote.delete_manifest("a", "1")


@pytest.mark.registry
def test_a_real_registry_lists_and_refuses_to_delete(
    registry: RunningRegistry, reach: Open, store: Store
) -> None:
    remote, repository = reach(registry.host), f"tests/{uuid.uuid4().hex}"
    assert remote.list_tags(repository) == ()
    digest, size = store.add(b"{}")
    config = Descriptor(media_type=OCI_CONFIG, digest=digest, size=size)
    remote.push_blob(repository, config, store)
    value = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}
    data = json.dumps({**value, "config": config.to_json()}).encode()
    for tag in ("b", "a", "c"):
        remote.push_manifest(repository, tag, OCI_MANIFEST, data)
    assert remote.list_tags(repository) == ("a", "b", "c")
    found = remote.read_manifests(repository, ["a", "x", "c"])
    assert [each and each[1] for each in found] == [data, None, data]
    with pytest.raises(RegistryError, match="405") as caught:
        remote.delete_manifest(repository, "sha256:" + hashlib.sha256(data).hexdigest())
    assert caught.value.code == "registry.bad-answer"
