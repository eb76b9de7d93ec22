"""Promises of `oci.registry` and `oci.transfer` on Debian's docker-registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from envbuild.errors import EnvbuildError, ImageError, RegistryError
from envbuild.oci.descriptor import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor
from envbuild.oci.reference import Reference, parse_reference
from envbuild.oci.registry import open_registry
from envbuild.oci.store import Store
from envbuild.oci.transfer import PushReport, push_image, resolve_digest
from tests.oci.conftest import Open
from tests.oci.images import add_image, add_index, pull_image
from tests.rig.need import missing
from tests.rig.registry import LockedRegistry, RunningRegistry

pytestmark = pytest.mark.registry

ABSENT = "sha256:" + "0" * 64


class Watch:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int, int]] = []

    def update(self, task: str, doing: str, done: int = 0, total: int = 0) -> None:
        self.seen.append((task, doing, done, total))

    def finish(self, task: str, outcome: str) -> None:
        raise AssertionError("whoever began the task ends it")

    def note(self, text: str) -> None:
        raise AssertionError(text)


@pytest.fixture
def reference(registry: RunningRegistry) -> Reference:
    """A name that nobody has used yet."""
    return parse_reference(f"{registry.host}/tests/{uuid.uuid4().hex}:1")


def test_what_is_not_there_is_not_found(reference: Reference, reach: Open) -> None:
    remote = reach(reference.registry)
    assert remote.find_manifest(reference.repository, "1") is None
    assert remote.find_manifest(reference.repository, ABSENT) is None
    assert remote.has_blob(reference.repository, ABSENT) is False
    with pytest.raises(RegistryError, match=reference.repository) as caught:
        remote.read_manifest(reference.repository, "1")
    assert caught.value.code == "registry.not-found"


def test_a_pushed_image_is_found_by_tag_and_digest(
    store: Store, reference: Reference, reach: Open
) -> None:
    image = add_image(store, b"one", os.urandom(3_000_000), label="x")
    remote = reach(reference.registry)
    watch = Watch()
    report = push_image(store, image, reference, remote, progress=watch, task="cpu")
    assert (report.blobs_sent, report.blobs_there, report.blobs_mounted) == (3, 0, 0)
    sizes = [blob["size"] for blob in blobs_of(store, image)]
    assert report.bytes_sent == sum(sizes)
    pushing = [(done, total) for _, doing, done, total in watch.seen if doing == "pushing"]
    assert max(pushing) == (sum(sizes), sum(sizes))
    for name in ("1", image.digest):
        found = remote.find_manifest(reference.repository, name)
        assert found == Descriptor(media_type=OCI_MANIFEST, digest=image.digest, size=image.size)
    described, data = remote.read_manifest(reference.repository, "1")
    assert (described, data) == (found, store.read(image.digest))


def blobs_of(store: Store, image: Descriptor) -> list[dict[str, int]]:
    manifest = json.loads(store.read(image.digest))
    return [manifest["config"], *manifest["layers"]]


def test_pushing_again_sends_nothing(store: Store, reference: Reference, reach: Open) -> None:
    image = add_image(store, b"one", b"two")
    remote = reach(reference.registry)
    push_image(store, image, reference, remote)
    assert push_image(store, image, reference, remote) == PushReport(blobs_there=3)


def test_in_doubt_what_a_registry_lost_behind_a_tag_is_sent_again(
    store: Store, registry: RunningRegistry, reference: Reference, reach: Open
) -> None:
    image = add_image(store, os.urandom(50_000), b"small")
    remote = reach(reference.registry)
    push_image(store, image, reference, remote)
    assert push_image(store, image, reference, remote, doubt=True) == PushReport(blobs_there=3)
    lost = [str(blob["digest"]) for blob in blobs_of(store, image)[1:]]
    for digest in lost:
        name = digest.removeprefix("sha256:")
        (data,) = registry.root.rglob(f"blobs/sha256/{name[:2]}/{name}")
        shutil.rmtree(data)
    assert push_image(store, image, reference, remote).blobs_there == 3
    report = push_image(store, image, reference, remote, doubt=True)
    assert (report.blobs_sent, report.blobs_there) == (2, 1)
    for digest in lost:
        remote.read_blob(reference.repository, digest)


def test_only_what_changed_is_sent(store: Store, reference: Reference, reach: Open) -> None:
    big = os.urandom(500_000)
    remote = reach(reference.registry)
    push_image(store, add_image(store, big, b"one"), reference, remote)
    changed = add_image(store, big, b"two")
    report = push_image(store, changed, reference, remote)
    assert (report.blobs_sent, report.blobs_there) == (2, 1)
    assert report.bytes_sent < 2000
    found = remote.find_manifest(reference.repository, "1")
    assert found is not None
    assert found.digest == changed.digest


def test_a_blob_of_another_repository_is_not_sent_again(
    store: Store, registry: RunningRegistry, reference: Reference, reach: Open
) -> None:
    image = add_image(store, os.urandom(500_000))
    remote = reach(reference.registry)
    push_image(store, image, reference, remote)
    other = parse_reference(f"{registry.host}/tests/{uuid.uuid4().hex}:1")
    known = {str(blob["digest"]): [reference.name] for blob in blobs_of(store, image)}
    report = push_image(store, image, other, remote, known=known)
    assert report == PushReport(blobs_mounted=2)
    remote.read_blob(other.repository, image_config(store, image))


def image_config(store: Store, image: Descriptor) -> str:
    return str(json.loads(store.read(image.digest))["config"]["digest"])


def test_a_wrong_guess_of_where_a_blob_is_costs_an_upload_only(
    store: Store, registry: RunningRegistry, reference: Reference, reach: Open
) -> None:
    image = add_image(store, os.urandom(50_000), b"data")
    places = [f"{registry.host}/tests/never-pushed", "elsewhere.example.com/a"]
    known = {str(blob["digest"]): places for blob in blobs_of(store, image)}
    report = push_image(store, image, reference, reach(reference.registry), known=known)
    assert (report.blobs_sent, report.blobs_mounted) == (3, 0)


def test_an_image_comes_back_whole(
    store: Store, reference: Reference, reach: Open, tmp_path: Path
) -> None:
    image = add_image(store, b"one", os.urandom(2_000_000))
    remote = reach(reference.registry)
    push_image(store, image, reference, remote)
    other = Store(tmp_path / "other")
    found = pull_image(remote, reference, other, os="linux", architecture="amd64")
    assert found.digest == image.digest
    for digest in [image.digest, *(str(blob["digest"]) for blob in blobs_of(store, image))]:
        assert other.read(digest) == store.read(digest)


def test_what_was_resolved_by_digest_needs_no_registry(
    store: Store, reference: Reference, reach: Open, tmp_path: Path
) -> None:
    image = add_image(store, b"one")
    push_image(store, image, reference, reach(reference.registry))
    other = Store(tmp_path / "other")
    wanted = parse_reference(f"{reference.name}@{image.digest}")
    pull_image(reach(reference.registry), wanted, other, os="linux", architecture="amd64")
    nowhere = reach("127.0.0.1:1")
    found = pull_image(nowhere, wanted, other, os="linux", architecture="amd64")
    assert found.digest == image.digest
    # With its configuration gone, it is not "there".
    other.path(image_config(store, image)).unlink()
    with pytest.raises(RegistryError):
        pull_image(nowhere, wanted, other, os="linux", architecture="amd64")


def test_an_index_gives_the_platforms_image(
    store: Store, reference: Reference, reach: Open, tmp_path: Path
) -> None:
    amd, arm = add_image(store, b"amd"), add_image(store, b"arm", architecture="arm64")
    index = add_index(store, {"amd64": amd, "arm64": arm})
    remote = reach(reference.registry)
    push_image(store, index, reference, remote)
    for architecture, image in {"amd64": amd, "arm64": arm}.items():
        digest = resolve_digest(remote, reference, os="linux", architecture=architecture)
        assert digest == image.digest
    other = Store(tmp_path / "other")
    assert (
        pull_image(remote, reference, other, os="linux", architecture="arm64").digest == arm.digest
    )
    assert not other.has(amd.digest)


@pytest.mark.parametrize("kind", ["index", "manifest"])
def test_a_missing_platform_is_named_with_those_there_are(
    store: Store, reference: Reference, reach: Open, kind: str
) -> None:
    image = add_image(store, b"arm", architecture="arm64")
    pushed = add_index(store, {"arm64": image}) if kind == "index" else image
    remote = reach(reference.registry)
    push_image(store, pushed, reference, remote)
    with pytest.raises(RegistryError, match=r"`linux/amd64`; there is: `linux/arm64`") as caught:
        resolve_digest(remote, reference, os="linux", architecture="amd64")
    assert caught.value.code == "registry.platform-missing"


def test_an_image_without_a_blob_is_not_named(
    store: Store, reference: Reference, reach: Open
) -> None:
    image = add_image(store, b"one", b"two")
    lost = str(blobs_of(store, image)[1]["digest"])
    store.path(lost).unlink()
    remote = reach(reference.registry)
    with pytest.raises(ImageError, match=lost) as caught:
        push_image(store, image, reference, remote)
    assert caught.value.code == "store.missing"
    assert remote.find_manifest(reference.repository, "1") is None


def test_a_damaged_blob_is_refused_and_said_to_be_ours(
    store: Store, reference: Reference, reach: Open
) -> None:
    image = add_image(store, b"one")
    path = store.path(str(blobs_of(store, image)[1]["digest"]))
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    remote = reach(reference.registry)
    with pytest.raises(ImageError) as caught:
        push_image(store, image, reference, remote)
    assert caught.value.code == "store.damaged"
    assert remote.find_manifest(reference.repository, "1") is None


def test_a_manifest_whose_blobs_are_not_there_is_refused(
    store: Store, reference: Reference, reach: Open
) -> None:
    image = add_image(store, b"never sent")
    with pytest.raises(RegistryError, match="blob unknown") as caught:
        reach(reference.registry).push_manifest(
            reference.repository, "1", image.media_type, store.read(image.digest)
        )
    assert caught.value.code == "registry.bad-answer"


def test_a_damaged_blob_of_the_registry_does_not_get_in(
    store: Store, registry: RunningRegistry, reference: Reference, reach: Open, tmp_path: Path
) -> None:
    image = add_image(store, os.urandom(100_000))
    remote = reach(reference.registry)
    push_image(store, image, reference, remote)
    digest = str(blobs_of(store, image)[1]["digest"])
    folder = registry.root / "storage/docker/registry/v2/blobs/sha256" / digest[7:9] / digest[7:]
    data = (folder / "data").read_bytes()
    (folder / "data").write_bytes(b"\0" + data[1:])
    other = Store(tmp_path / "other")
    with pytest.raises(RegistryError) as caught:
        pull_image(remote, reference, other, os="linux", architecture="amd64")
    assert caught.value.code == "registry.wrong-digest"
    assert not other.has(digest)
    assert list((other.root / "blobs" / "sha256").glob(".*")) == []


@pytest.mark.parametrize("reference_text", ["docker-type", "oci-type"])
def test_dockers_own_manifests_are_read(
    store: Store, reference: Reference, reach: Open, tmp_path: Path, reference_text: str
) -> None:
    text = store.read(add_image(store, b"one").digest).decode()
    if reference_text == "docker-type":
        text = (
            text.replace(OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
            .replace(OCI_CONFIG, "application/vnd.docker.container.image.v1+json")
            .replace(OCI_LAYER_GZIP, "application/vnd.docker.image.rootfs.diff.tar.gzip")
        )
    digest, size = store.add(text.encode())
    image = Descriptor(media_type=json.loads(text)["mediaType"], digest=digest, size=size)
    remote = reach(reference.registry)
    push_image(store, image, reference, remote)
    found = pull_image(remote, reference, Store(tmp_path / "o"), os="linux", architecture="amd64")
    assert (found.media_type, found.digest) == (image.media_type, digest)


def test_tls_and_a_login_are_found(
    store: Store, registry_auth: LockedRegistry, reach: Open, no_logins: Path
) -> None:
    registry_auth.write_login(no_logins)
    image = add_image(store, os.urandom(300_000), b"two")
    reference = parse_reference(f"{registry_auth.host}/{uuid.uuid4().hex}:1")
    remote = reach(registry_auth.host, ca=registry_auth.ca)
    assert push_image(store, image, reference, remote).blobs_sent == 3
    assert push_image(store, image, reference, remote).blobs_sent == 0
    digest = resolve_digest(remote, reference, os="linux", architecture="amd64")
    assert digest == image.digest


def test_without_a_login_nothing_is_known(registry_auth: LockedRegistry, reach: Open) -> None:
    remote = reach(registry_auth.host, ca=registry_auth.ca)
    with pytest.raises(RegistryError, match="does not let anyone look up") as caught:
        remote.find_manifest("a", "1")
    assert caught.value.code == "registry.unauthorised"
    assert f"docker login {registry_auth.host}" in str(caught.value.hint)


def test_a_wrong_password_is_said_and_not_shown(
    registry_auth: LockedRegistry, reach: Open, no_logins: Path, tmp_path: Path
) -> None:
    wrong = LockedRegistry(
        host=registry_auth.host, user="ada", password="s3cret-guess", ca=registry_auth.ca
    )
    wrong.write_login(no_logins)
    remote = reach(registry_auth.host, ca=registry_auth.ca)
    with pytest.raises(RegistryError, match="the login that is stored") as caught:
        remote.find_manifest("a", "1")
    assert caught.value.code == "registry.unauthorised"
    assert "s3cret" not in str(caught.value)


def test_an_authority_that_is_not_trusted_is_said(
    registry_auth: LockedRegistry, reach: Open
) -> None:
    with pytest.raises(RegistryError, match="certificate is not trusted") as caught:
        reach(registry_auth.host).find_manifest("a", "1")
    assert caught.value.code == "registry.tls"
    assert "certs.d" in str(caught.value.hint)


def test_an_authority_is_found_where_docker_keeps_it(
    registry_auth: LockedRegistry, reach: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".docker" / "certs.d" / registry_auth.host
    folder.mkdir(parents=True)
    shutil.copy(registry_auth.ca, folder / "ca.crt")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(RegistryError) as caught:
        reach(registry_auth.host).find_manifest("a", "1")
    assert caught.value.code == "registry.unauthorised"


def test_tls_to_a_plain_registry_is_explained(registry: RunningRegistry, reach: Open) -> None:
    with pytest.raises(RegistryError, match="does not speak TLS") as caught:
        reach(registry.host, plain_http=False).find_manifest("a", "1")
    assert caught.value.code == "registry.tls"
    assert "plain-http = true" in str(caught.value.hint)


@pytest.fixture
def skopeo() -> str:
    program = shutil.which("skopeo")
    if program is None:
        missing("skopeo", "apt-get install skopeo")
    return program


def test_another_tool_reads_the_store(
    store: Store, reference: Reference, reach: Open, skopeo: str, tmp_path: Path
) -> None:
    image = add_image(store, b"one", os.urandom(200_000), label="seen")
    store.name("h.example.com/cpu:1", image)
    source = f"oci:{store.root}:h.example.com/cpu:1"
    told = subprocess.run([skopeo, "inspect", source], capture_output=True, check=True)
    assert json.loads(told.stdout)["Labels"] == {"test": "seen"}
    # Copying reads and checks every byte; the registry then has what we would have pushed.
    target = f"docker://{reference}"
    copy = [skopeo, "--insecure-policy", "copy", "--dest-tls-verify=false", source, target]
    subprocess.run(copy, capture_output=True, check=True)
    found = reach(reference.registry).find_manifest(reference.repository, "1")
    assert found is not None
    assert found.digest == image.digest


def test_another_tool_reads_what_was_pushed(
    store: Store, reference: Reference, reach: Open, skopeo: str, tmp_path: Path
) -> None:
    image = add_image(store, b"one", os.urandom(200_000))
    push_image(store, image, reference, reach(reference.registry))
    copy = [skopeo, "--insecure-policy", "copy", "--src-tls-verify=false"]
    subprocess.run(
        [*copy, f"docker://{reference}", f"oci:{tmp_path / 'copy'}:1"],
        capture_output=True,
        check=True,
    )
    copied = Store(tmp_path / "copy").find("1")
    assert copied is not None
    assert copied.digest == image.digest


def test_the_same_registry_is_opened_once(registry: RunningRegistry) -> None:
    assert open_registry(registry.host) is open_registry(registry.host)


def test_names_that_lead_elsewhere_are_refused(registry: RunningRegistry, reach: Open) -> None:
    with pytest.raises(EnvbuildError):
        reach(registry.host).has_blob("a", "sha256:../../manifests/latest")
