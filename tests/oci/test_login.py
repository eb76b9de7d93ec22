"""Promises of `oci.token` and `oci.wire`: logins are sent, renewed, and shown to nobody else."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from envbuild.errors import RegistryError
from envbuild.oci.descriptor import OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor
from envbuild.oci.reference import parse_reference
from envbuild.oci.store import Store
from envbuild.oci.transfer import push_image
from tests.oci.conftest import Open
from tests.oci.images import add_image
from tests.rig.registry import FaultyRegistry
from tests.rig.scripted import Handler, ScriptedServer, answer

MANIFEST = b'{"schemaVersion":2,"config":{},"layers":[]}'


def write_login(server: FaultyRegistry, folder: Path, **entry: str) -> None:
    """Write a login; without `entry`, the right user and password."""
    folder.mkdir(exist_ok=True)
    auth = base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
    text = json.dumps({"auths": {server.host: entry or {"auth": auth}}})
    (folder / "config.json").write_text(text)


def test_an_open_registry_is_never_told_a_login(
    faulty_registry: FaultyRegistry, reach: Open, no_logins: Path
) -> None:
    write_login(faulty_registry, no_logins)
    faulty_registry.put("a", "1", OCI_MANIFEST, MANIFEST)
    reach(faulty_registry.host).find_manifest("a", "1")
    assert [s.headers.get("Authorization") for s in faulty_registry.seen] == [None, None]


def test_basic_is_answered_once_and_then_known(
    faulty_registry: FaultyRegistry, reach: Open, no_logins: Path
) -> None:
    faulty_registry.login = "basic"
    write_login(faulty_registry, no_logins)
    remote = reach(faulty_registry.host)
    for _ in range(3):
        assert remote.find_manifest("a", "1") is None
    sent = ["Authorization" in s.headers for s in faulty_registry.seen if s.method == "HEAD"]
    assert sent == [False, True, True, True]


def test_a_bearer_token_is_fetched_once_per_repository(
    faulty_registry: FaultyRegistry, reach: Open, no_logins: Path
) -> None:
    faulty_registry.login = "bearer"
    write_login(faulty_registry, no_logins)
    remote = reach(faulty_registry.host)
    for repository in ("a", "a", "b", "a", "b"):
        assert remote.find_manifest(repository, "1") is None
    assert faulty_registry.count("GET", "/token") == 2


def test_a_token_to_write_will_do_to_read(
    faulty_registry: FaultyRegistry, reach: Open, no_logins: Path, store: Store
) -> None:
    faulty_registry.login = "bearer"
    write_login(faulty_registry, no_logins)
    digest, size = store.add(b"data")
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size)
    remote = reach(faulty_registry.host)
    remote.push_blob("a", blob, store)
    assert remote.has_blob("a", digest)
    assert remote.read_blob("a", digest) == b"data"
    assert faulty_registry.count("GET", "/token") == 1
    # Not for another repository, nor for more than it is for.
    assert not remote.has_blob("b", digest)
    assert faulty_registry.count("GET", "/token") == 2
    remote.push_blob("b", blob, store)
    assert faulty_registry.count("GET", "/token") == 3


def test_a_token_that_turns_out_to_be_for_less_is_not_relied_upon(
    faulty_registry: FaultyRegistry, reach: Open, no_logins: Path, store: Store
) -> None:
    # The token service grants less than it was asked for, and says nothing of it.
    def grant(handler: Handler) -> None:
        token = "reader" if handler.path.endswith("%3Apull&account=ada") else "nothing"
        handler.reply(200, json.dumps({"token": token}).encode())

    faulty_registry.login = "bearer"
    faulty_registry.tokens["reader"] = ("repository:a:pull",)
    faulty_registry.script("GET", "/token", grant, forever=True)
    write_login(faulty_registry, no_logins)
    digest, size = store.add(b"data")
    faulty_registry.put_blob("a", b"data")
    remote = reach(faulty_registry.host)
    with pytest.raises(RegistryError) as caught:
        remote.push_blob(
            "a", Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size), store
        )
    assert caught.value.code == "registry.unauthorised"
    assert remote.has_blob("a", digest)


def test_a_token_that_ended_is_renewed(
    faulty_registry: FaultyRegistry, reach: Open, no_logins: Path
) -> None:
    faulty_registry.login = "bearer"
    write_login(faulty_registry, no_logins)
    remote = reach(faulty_registry.host)
    remote.find_manifest("a", "1")
    faulty_registry.revoke()
    assert remote.find_manifest("a", "1") is None
    assert faulty_registry.count("GET", "/token") == 2


def test_a_token_is_renewed_in_the_middle_of_a_push(
    faulty_registry: FaultyRegistry, reach: Open, no_logins: Path, store: Store
) -> None:
    faulty_registry.login = "bearer"
    write_login(faulty_registry, no_logins)
    digest, size = store.add(b"x" * 100_000)
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size)

    def revoke(handler: Handler) -> None:
        faulty_registry.revoke()
        faulty_registry.serve(handler)

    faulty_registry.script("PUT", "/blobs/uploads/", revoke)
    reach(faulty_registry.host).push_blob("a", blob, store)
    assert ("a", digest) in faulty_registry.blobs
    assert faulty_registry.count("GET", "/token") == 2


def test_without_a_login_what_is_public_is_read(
    faulty_registry: FaultyRegistry, reach: Open
) -> None:
    faulty_registry.login = "bearer"
    faulty_registry.anonymous = frozenset({"repository:public:pull"})
    faulty_registry.put("public", "1", OCI_MANIFEST, MANIFEST)
    remote = reach(faulty_registry.host)
    found = remote.find_manifest("public", "1")
    assert isinstance(found, Descriptor)
    with pytest.raises(RegistryError) as caught:
        remote.find_manifest("private", "1")
    assert caught.value.code == "registry.unauthorised"
    assert faulty_registry.count("GET", "/token") == 2


def test_an_identity_token_is_exchanged(
    faulty_registry: FaultyRegistry, reach: Open, no_logins: Path
) -> None:
    faulty_registry.login = "bearer"
    write_login(faulty_registry, no_logins, identitytoken=faulty_registry.password)
    assert reach(faulty_registry.host).find_manifest("a", "1") is None
    assert faulty_registry.count("POST", "/token") == 1


def test_a_repository_that_only_a_writer_may_know_of_is_asked_for_as_one(
    faulty_registry: FaultyRegistry, reach: Open, no_logins: Path
) -> None:
    # A token service may give no pull token for what doesn't exist, but one for pushing it.
    def grant(handler: Handler) -> None:
        token = "writer" if "push" in handler.path else "reader"
        handler.reply(200, json.dumps({"token": token}).encode())

    faulty_registry.login = "bearer"
    faulty_registry.tokens["writer"] = ("repository:new:pull", "repository:new:push")
    faulty_registry.script("GET", "/token", grant, forever=True)
    write_login(faulty_registry, no_logins)
    assert reach(faulty_registry.host).find_manifest("new", "1") is None


@pytest.mark.parametrize("login", ["basic", "bearer"])
def test_a_refused_login_is_said_and_not_shown(
    faulty_registry: FaultyRegistry, reach: Open, no_logins: Path, login: str
) -> None:
    faulty_registry.login = login
    auth = base64.b64encode(b"ada:s3cret-guess").decode()
    write_login(faulty_registry, no_logins, auth=auth)
    with pytest.raises(RegistryError) as caught:
        reach(faulty_registry.host).find_manifest("a", "1")
    assert caught.value.code == "registry.unauthorised"
    assert f"docker login {faulty_registry.host}" in str(caught.value.hint)
    shown = repr(caught.value) + str(caught.value)
    assert "s3cret" not in shown
    assert auth not in shown


@pytest.mark.parametrize(
    "header",
    [
        'Bearer service="x"',
        'Bearer realm="ftp://x/y"',
        'Bearer realm="not a url"',
        "Negotiate",
        "",
    ],
)
def test_a_challenge_that_can_not_be_met_is_an_error(
    faulty_registry: FaultyRegistry, reach: Open, header: str
) -> None:
    faulty_registry.script("HEAD", "/a/", answer(401, WWW_Authenticate=header), forever=True)
    with pytest.raises(RegistryError) as caught:
        reach(faulty_registry.host).find_manifest("a", "1")
    assert caught.value.code == "registry.unauthorised"


def test_a_broken_token_service_is_named(faulty_registry: FaultyRegistry, reach: Open) -> None:
    faulty_registry.login = "bearer"
    faulty_registry.script("GET", "/token", answer(503), answer(200, b"<html>"), forever=True)
    with pytest.raises(RegistryError, match="gave no token") as caught:
        reach(faulty_registry.host).find_manifest("a", "1")
    assert caught.value.code == "registry.unauthorised"


def test_a_token_service_that_is_down_is_named(
    faulty_registry: FaultyRegistry, reach: Open
) -> None:
    header = 'Bearer realm="http://127.0.0.1:1/token"'
    faulty_registry.script("HEAD", "/a/", answer(401, WWW_Authenticate=header))
    with pytest.raises(RegistryError, match="token service") as caught:
        reach(faulty_registry.host).find_manifest("a", "1")
    assert caught.value.code == "registry.unreachable"


def test_another_host_is_shown_no_login(
    faulty_registry: FaultyRegistry, reach: Open, no_logins: Path, store: Store, tmp_path: Path
) -> None:
    faulty_registry.login = "basic"
    write_login(faulty_registry, no_logins)
    image = add_image(store, b"one")
    layer = json.loads(store.read(image.digest))["layers"][0]
    with FaultyRegistry().running() as storage:
        assert isinstance(storage, FaultyRegistry)
        # Uploads go to another host, and so do downloads: object storage works like this.
        faulty_registry.upload_host = storage.url
        storage.script("PUT", "/blobs/uploads/", answer(201), forever=True)
        push_image(
            store,
            image,
            parse_reference(f"{faulty_registry.host}/a:1"),
            reach(faulty_registry.host),
        )
        assert storage.count("PUT") == 2
        storage.files["/data"] = store.read(layer["digest"])
        faulty_registry.script("GET", "/blobs/", answer(307, Location=f"{storage.url}/data?sig=s"))
        remote = reach(faulty_registry.host)
        other = Store(tmp_path / "other")
        remote.fetch_blob("a", Descriptor.from_json(layer), other)
        assert other.has(layer["digest"])
        assert storage.count("GET", "/data") == 1
        assert ["Authorization" in seen.headers for seen in storage.seen] == [False] * 3
    assert any("Authorization" in seen.headers for seen in faulty_registry.seen)


def test_a_login_is_not_sent_in_the_clear_for_a_registry_with_tls(
    tmp_path: Path, reach: Open, no_logins: Path
) -> None:
    from tests.rig.registry import make_tls

    context, ca = make_tls(tmp_path)
    with FaultyRegistry(tls=context).running() as server:
        assert isinstance(server, FaultyRegistry)
        write_login(server, no_logins)
        header = 'Bearer realm="http://auth.example.com/token"'
        server.script("HEAD", "/a/", answer(401, WWW_Authenticate=header), forever=True)
        with pytest.raises(RegistryError, match=r"in the clear to `auth\.example\.com`") as caught:
            reach(server.host, ca=ca).find_manifest("a", "1")
    assert caught.value.code == "registry.unauthorised"


def test_a_redirect_out_of_a_registry_takes_no_login(
    faulty_registry: FaultyRegistry, reach: Open, no_logins: Path
) -> None:
    faulty_registry.login = "basic"
    write_login(faulty_registry, no_logins)
    remote = reach(faulty_registry.host)
    remote.find_manifest("a", "1")
    with ScriptedServer().running() as other:
        faulty_registry.script("GET", "/a/", answer(302, Location=f"{other.url}/x"))
        other.script("GET", "/x", answer(401, WWW_Authenticate='Basic realm="more"'))
        with pytest.raises(RegistryError):
            remote.read_manifest("a", "1")
        assert ["Authorization" in seen.headers for seen in other.seen] == [False]
