"""Promises of `oci`: an image gets into, and comes back from, the registries that people have.

None of these runs here, so each is a small registry with what is known to be special about it.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from envbuild.errors import RegistryError
from envbuild.oci import upload
from envbuild.oci.descriptor import OCI_MANIFEST, Descriptor
from envbuild.oci.reference import parse_reference
from envbuild.oci.store import Store
from envbuild.oci.transfer import PushReport, push_image
from tests.oci.conftest import Open
from tests.oci.images import add_image, pull_image
from tests.rig.registry import FaultyRegistry
from tests.rig.scripted import Handler, answer

CHUNK = 1 << 20
JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what is longer than 1 MiB sent in chunks, so that 3 MB are a long layer."""
    monkeypatch.setattr(upload, "_CHUNKS", (CHUNK, CHUNK // 4))


def refusal(code: str, message: str = "said so") -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


class Amazon(FaultyRegistry):
    """Basic login, no mounts, repositories made beforehand; 201 and a stale range for a chunk."""

    def serve(self, handler: Handler) -> None:
        path, _, query = handler.path.partition("?")
        name = path.rpartition("/")[2]
        if "mount=" in query:
            handler.path = path
        if handler.command == "PATCH" and name in self.uploads:
            self.uploads[name] += handler.read_body()
            place = {"Location": handler.path, "Range": f"0-{CHUNK - 1}"}
            handler.reply(201, b"", place)
        elif handler.command == "PUT" and self.uploads.get(name):
            if handler.headers.get("Content-Length") == "0":
                handler.reply(500)
            else:
                super().serve(handler)
        elif path.startswith("/v2/new/"):
            handler.read_body()
            text = "The repository with name 'new' does not exist in the registry"
            handler.reply(404, refusal("NAME_UNKNOWN", text), JSON)
        else:
            super().serve(handler)


class Google(FaultyRegistry):
    """No chunks at all; uploads go to another path of the same host."""

    def _place(self, repository: str, name: str) -> str:
        return f"{self.url}/artifacts-uploads/namespaces/x/repositories/{repository}/uploads/{name}"

    def serve(self, handler: Handler) -> None:
        if match := re.match(r"/artifacts-uploads/.*/repositories/(.+)/uploads/(.*)", handler.path):
            handler.path = f"/v2/{match[1]}/blobs/uploads/{match[2]}"
        if handler.command == "PATCH":
            handler.read_body()
            handler.reply(405, refusal("UNSUPPORTED", "chunked uploads"), JSON)
        else:
            super().serve(handler)


class GitHub(FaultyRegistry):
    """A token for whatever is asked, denied to who has none; 416 for a chunk that is too long."""

    def serve(self, handler: Handler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        if handler.path.startswith("/token") and "Authorization" not in handler.headers:
            handler.reply(403, refusal("DENIED", "requested access to the resource is denied"))
        elif handler.command == "PATCH" and length > CHUNK // 2:
            handler.read_body()
            text = "the request body is too large and exceeds the maximum permissible limit"
            handler.reply(416, refusal("REQUESTED_RANGE_NOT_SATISFIABLE", text), JSON)
        else:
            super().serve(handler)


class Harbor(FaultyRegistry):
    """An internal error for a project that isn't there; a mount needs a token for its source."""

    def serve(self, handler: Handler) -> None:
        if handler.command in {"GET", "HEAD"} and handler.path.startswith("/v2/none/"):
            handler.reply(500, refusal("NOT_FOUND", "project none not found"), JSON)
        else:
            super().serve(handler)

    def _admits(self, handler: Handler, path: str) -> bool:
        return super()._admits(handler, path) and self._may_mount(handler)

    def _may_mount(self, handler: Handler) -> bool:
        source = parse_qs(handler.path.partition("?")[2]).get("from")
        token = handler.headers.get("Authorization", "").partition(" ")[2]
        return source is None or f"repository:{source[0]}:pull" in self.tokens.get(token, ())


class GitLab(Harbor):
    """As Harbor, and its token service refuses all if it refuses one scope."""

    def _serve_token(self, handler: Handler, fields: dict[str, list[str]]) -> None:
        if any(s.split(":")[1] in self.forbidden for s in fields.get("scope", [])):
            handler.reply(403, refusal("DENIED", "access forbidden"), JSON)
        else:
            super()._serve_token(handler, fields)


class Quay(FaultyRegistry):
    """Pages of tags by a token of its own; no length or type for a HEAD."""

    def serve(self, handler: Handler) -> None:
        path, _, query = handler.path.partition("?")
        if path.endswith("/tags/list"):
            page = parse_qs(query).get("next_page", ["first"])[0]
            tags, following = {
                "first": (["1", "3"], "gAAAAA_bc-d"),
                "gAAAAA_bc-d": (["2"], ""),
            }[page]
            url = f"{path}?n=2&next_page={following}"
            more = {"Link": f'<{url}>; rel="next"'} if following else {}
            handler.reply(200, json.dumps({"tags": tags}).encode(), {**JSON, **more})
        else:
            super().serve(handler)


class Artifactory(FaultyRegistry):
    """No mounts; 0 as the length of a HEAD; uploads by an absolute URL; no digest after a PUT."""

    def serve(self, handler: Handler) -> None:
        path, _, query = handler.path.partition("?")
        if "mount=" in query:
            handler.path = path
        found = re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path)
        if handler.command == "HEAD" and found and (found[1], found[2]) in self.manifests:
            handler.reply(200, b"", {"Content-Type": OCI_MANIFEST})
        else:
            self.upload_host = self.url
            super().serve(handler)


class Azure(FaultyRegistry):
    """A refresh token as the login, exchanged by POST; the answer says `access_token` only."""

    def _serve_token(self, handler: Handler, fields: dict[str, list[str]]) -> None:
        wanted = parse_qs(handler.read_body().decode())
        if wanted.get("grant_type") != ["refresh_token"] or not wanted.get("service"):
            handler.reply(400, b'{"errors":[{"code":"BAD_REQUEST"}]}')
        elif wanted.get("refresh_token") != [self.password]:
            handler.reply(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}')
        else:
            scopes = wanted["scope"][0].split()
            self.tokens["granted"] = tuple(
                f"{s.rpartition(':')[0]}:{a}" for s in scopes for a in s.split(":")[2].split(",")
            )
            handler.reply(200, b'{"access_token":"granted"}', JSON)


LOGINS = {
    Amazon: "basic",
    Google: "basic",
    GitHub: "bearer",
    Harbor: "bearer",
    GitLab: "bearer",
    Quay: "bearer",
    Artifactory: "basic",
    Azure: "bearer",
}


@pytest.fixture(params=list(LOGINS), ids=lambda vendor: vendor.__name__.lower())
def server(request: pytest.FixtureRequest, no_logins: Path) -> Iterator[FaultyRegistry]:
    """Each vendor's registry, with the right login stored for it."""
    with request.param(login=LOGINS[request.param]).running() as running:
        log_in(running, no_logins)
        yield running


def log_in(server: FaultyRegistry, folder: Path) -> None:
    auth = base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
    entry = {"auth": auth}
    if isinstance(server, Azure):
        nobody = base64.b64encode(b"00000000-0000-0000-0000-000000000000:").decode()
        entry = {"auth": nobody, "identitytoken": server.password}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {server.host: entry}}))


def test_an_image_gets_there_and_back(
    server: FaultyRegistry, reach: Open, store: Store, tmp_path: Path
) -> None:
    image = add_image(store, os.urandom(3_500_000), os.urandom(50_000))
    target = parse_reference(f"{server.host}/team/cpu:1")
    remote = reach(server.host)
    assert remote.find_manifest("team/cpu", "1") is None
    assert push_image(store, image, target, remote).blobs_sent == 3
    found = remote.find_manifest("team/cpu", "1")
    assert found == Descriptor(media_type=OCI_MANIFEST, digest=image.digest, size=image.size)
    assert push_image(store, image, target, remote) == PushReport(blobs_there=3)
    other = Store(tmp_path / "other")
    pulled = pull_image(remote, target, other, os="linux", architecture="amd64")
    assert pulled.digest == image.digest


def test_a_layer_is_taken_from_another_repository_or_sent(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    image = add_image(store, os.urandom(3_500_000), os.urandom(50_000))
    remote = reach(server.host)
    push_image(store, image, parse_reference(f"{server.host}/team/cpu:1"), remote)
    known = {digest: [f"{server.host}/team/cpu"] for _, digest in server.blobs}
    target = parse_reference(f"{server.host}/team/gpu:1")
    report = push_image(store, image, target, remote, known=known)
    mounts = not isinstance(server, Amazon | Artifactory)
    assert (report.blobs_mounted, report.blobs_sent) == ((3, 0) if mounts else (0, 3))
    assert {r for r, _ in server.manifests} == {"team/cpu", "team/gpu"}


@pytest.mark.parametrize("server", [Harbor, GitLab, Azure], indirect=True)
def test_a_layer_that_may_not_be_read_there_is_sent(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    image = add_image(store, os.urandom(60_000), os.urandom(50_000))
    remote = reach(server.host)
    server.forbidden = frozenset({"secret/cpu"})
    blobs = json.loads(store.read(image.digest))
    known = {blob["digest"]: [f"{server.host}/secret/cpu"] for blob in blobs["layers"]}
    target = parse_reference(f"{server.host}/team/gpu:1")
    assert push_image(store, image, target, remote, known=known).blobs_sent == 3
    assert ("team/gpu", "1") in server.manifests


@pytest.mark.parametrize("server", [GitHub], indirect=True)
def test_github_denies_a_token_to_who_has_no_login(
    server: FaultyRegistry, reach: Open, no_logins: Path
) -> None:
    (no_logins / "config.json").unlink()
    with pytest.raises(RegistryError, match="answered 403") as caught:
        reach(server.host).find_manifest("team/cpu", "1")
    assert caught.value.code == "registry.unauthorised"


@pytest.mark.parametrize("server", [Google, GitHub], indirect=True)
def test_chunks_that_are_refused_are_not_tried_again(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    remote = reach(server.host)
    for number in range(3):
        image = add_image(store, os.urandom(2_000_000))
        push_image(store, image, parse_reference(f"{server.host}/a:{number}"), remote)
    assert server.count("PATCH") == 1


@pytest.mark.parametrize("server", [Amazon], indirect=True)
def test_amazon_says_that_the_repository_has_to_be_made(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    image = add_image(store, b"one")
    remote = reach(server.host)
    assert remote.find_manifest("new", "1") is None
    with pytest.raises(RegistryError, match="repository with name 'new' does not exist") as caught:
        push_image(store, image, parse_reference(f"{server.host}/new:1"), remote)
    assert caught.value.code == "registry.not-found"


@pytest.mark.parametrize("server", [Harbor], indirect=True)
def test_harbors_internal_error_for_no_project_is_absence(
    server: FaultyRegistry, reach: Open
) -> None:
    assert reach(server.host).find_manifest("none/cpu", "1") is None
    assert reach(server.host).list_tags("none/cpu") == ()


@pytest.mark.parametrize("server", [Quay], indirect=True)
def test_quays_pages_have_tokens_of_their_own(server: FaultyRegistry, reach: Open) -> None:
    assert reach(server.host).list_tags("a") == ("1", "2", "3")


@pytest.mark.parametrize("server", [Azure], indirect=True)
def test_azures_refresh_token_is_exchanged_once_for_all_of_a_push(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    image = add_image(store, *(os.urandom(50_000) for _ in range(5)))
    push_image(store, image, parse_reference(f"{server.host}/a:1"), reach(server.host))
    # One to look, one to write.
    assert server.count("POST", "/token") == 2


HUB_LIMIT = answer(
    429,
    refusal("TOOMANYREQUESTS", "You have reached your pull rate limit"),
    Content_Type="application/json",
    Retry_After="0",
)


def test_docker_hubs_limit_is_waited_for(faulty_registry: FaultyRegistry, reach: Open) -> None:
    faulty_registry.put("a", "1", OCI_MANIFEST, b'{"schemaVersion":2,"config":{},"layers":[]}')
    faulty_registry.script("GET", "/manifests/", HUB_LIMIT, HUB_LIMIT)
    assert reach(faulty_registry.host).read_manifest("a", "1")
    assert faulty_registry.count("GET", "/manifests/") == 3


def test_docker_hubs_limit_is_told_apart_from_absence(
    faulty_registry: FaultyRegistry, reach: Open
) -> None:
    for method in ("HEAD", "GET"):
        faulty_registry.script(method, "/manifests/", HUB_LIMIT, forever=True)
    remote = reach(faulty_registry.host)
    with pytest.raises(RegistryError, match=r"asked too often .* pull rate limit") as caught:
        remote.read_manifest_if_any("a", "1")
    assert caught.value.code == "registry.unavailable"


def test_docker_hub_is_asked_at_its_own_address(
    monkeypatch: pytest.MonkeyPatch, faulty_registry: FaultyRegistry, reach: Open
) -> None:
    # A proxy sees where a request would have gone.
    monkeypatch.setenv("http_proxy", faulty_registry.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    place = "^http://registry-1.docker.io/v2/library/debian/manifests/12$"
    manifest = b'{"schemaVersion":2,"config":{},"layers":[]}'
    faulty_registry.script("GET", place, answer(200, manifest, Content_Type=OCI_MANIFEST))
    debian = parse_reference("debian:12")
    remote = reach(debian.registry, plain_http=True)
    assert remote.read_manifest(debian.repository, debian.target)[1] == manifest
