"""Promises of `oci`: what real registries do is understood, and doubt is never a yes or a no."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from envbuild.errors import RegistryError
from envbuild.oci.descriptor import OCI_INDEX, OCI_MANIFEST, Descriptor
from tests.oci.conftest import QUICK, Open
from tests.rig.registry import FaultyRegistry
from tests.rig.scripted import Act, ScriptedServer, answer, cut, hang, through

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
    server.script("HEAD", "/manifests/", answer(200, b"", **headers))
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
