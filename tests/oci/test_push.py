"""Promises of `oci.transfer` about pushing: few questions, no needless byte."""

from __future__ import annotations

import json
import os
import threading
import uuid
from pathlib import Path

import pytest

from envbuild.errors import ImageError, RegistryError
from envbuild.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    ImagePlatform,
)
from envbuild.oci.reference import parse_reference
from envbuild.oci.store import Store
from envbuild.oci.transfer import PushReport, push_image, resolve_digest, resolve_image
from tests.oci.conftest import Open
from tests.oci.images import add_image, add_index
from tests.rig.registry import FaultyRegistry, RunningRegistry
from tests.rig.scripted import Act, Handler, answer


@pytest.fixture
def server(faulty_registry: FaultyRegistry) -> FaultyRegistry:
    """A shorter name."""
    return faulty_registry


def blobs_of(store: Store, image: Descriptor) -> list[Descriptor]:
    manifest = json.loads(store.read(image.digest))
    return [Descriptor.from_json(entry) for entry in (manifest["config"], *manifest["layers"])]


def drop_layers(store: Store, image: Descriptor) -> dict[str, bytes]:
    """Take the layers out of the store; return them."""
    layers = {layer.digest: store.read(layer.digest) for layer in blobs_of(store, image)[1:]}
    for digest in layers:
        store.path(digest).unlink()
    return layers


@pytest.mark.parametrize("layers", [1, 22])
def test_what_the_registry_knows_costs_a_question_a_blob(
    server: FaultyRegistry, reach: Open, store: Store, layers: int
) -> None:
    image = add_image(store, *(os.urandom(20_000) for _ in range(layers)))
    blobs = blobs_of(store, image)
    for digest, data in {blob.digest: store.read(blob.digest) for blob in blobs}.items():
        server.blobs["layers", digest] = data
    drop_layers(store, image)
    known = {blob.digest: [f"{server.host}/layers"] for blob in blobs}
    target = parse_reference(f"{server.host}/b:1")
    report = push_image(store, image, target, reach(server.host), known=known)
    assert report == PushReport(blobs_mounted=layers + 1)
    assert server.manifests["b", "1"][1] == store.read(image.digest)
    assert server.count("POST") == layers + 1
    # The one for the name, to see whether there is anything to do; one more to greet.
    assert server.count("HEAD") == 1
    assert len(server.seen) == layers + 4
    assert len({s.client for s in server.seen}) <= 8


def test_questions_are_under_way_at_once(server: FaultyRegistry, reach: Open, store: Store) -> None:
    image = add_image(store, *(os.urandom(20_000) for _ in range(7)))
    for blob in blobs_of(store, image):
        server.blobs["layers", blob.digest] = store.read(blob.digest)
    known = {blob.digest: [f"{server.host}/layers"] for blob in blobs_of(store, image)}
    barrier = threading.Barrier(8, timeout=30)

    def together(handler: Handler) -> None:
        barrier.wait()
        server.serve(handler)

    server.script("POST", "mount=", *[together] * 8)
    target = parse_reference(f"{server.host}/b:1")
    assert push_image(store, image, target, reach(server.host), known=known).blobs_mounted == 8


@pytest.mark.parametrize(
    "refusal",
    [None, answer(404), answer(405), answer(403), answer(401), answer(500), answer(400)],
    ids=["202", "404", "405", "403", "401", "500", "400"],
)
def test_what_is_not_mounted_is_fetched_and_sent(
    server: FaultyRegistry, reach: Open, store: Store, refusal: Act | None
) -> None:
    image = add_image(store, os.urandom(50_000), os.urandom(60_000))
    layers = drop_layers(store, image)
    known = {digest: [f"{server.host}/private"] for digest in layers}
    if refusal:
        server.script("POST", "mount=", refusal, forever=True)
    fetched: list[str] = []

    def fetch(blob: Descriptor) -> None:
        fetched.append(blob.digest)
        store.add(layers[blob.digest])

    target = parse_reference(f"{server.host}/b:1")
    report = push_image(store, image, target, reach(server.host), known=known, fetch=fetch)
    assert (report.blobs_sent, report.blobs_mounted) == (3, 0)
    assert report.bytes_sent == sum(blob.size for blob in blobs_of(store, image))
    assert sorted(fetched) == sorted(layers)
    assert {digest: server.blobs["b", digest] for digest in layers} == layers


def test_a_layer_of_another_registry_is_fetched_unless_it_is_there(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    image = add_image(store, os.urandom(50_000), os.urandom(60_000))
    layers = drop_layers(store, image)
    there, elsewhere = layers
    server.blobs["b", there] = layers[there]
    known = {digest: ["registry.example.com/layers"] for digest in layers}
    fetched: list[str] = []

    def fetch(blob: Descriptor) -> None:
        fetched.append(blob.digest)
        store.add(layers[blob.digest])

    target = parse_reference(f"{server.host}/b:1")
    report = push_image(store, image, target, reach(server.host), known=known, fetch=fetch)
    assert (report.blobs_sent, report.blobs_there, report.blobs_mounted) == (2, 1, 0)
    assert fetched == [elsewhere]
    assert server.count("POST", "mount=") == 0


def test_what_is_said_to_be_there_is_looked_for(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    image = add_image(store, os.urandom(50_000))
    known = {blob.digest: [f"{server.host}/b"] for blob in blobs_of(store, image)}
    target = parse_reference(f"{server.host}/b:1")
    report = push_image(store, image, target, reach(server.host), known=known)
    assert report.blobs_sent == 2
    assert {digest for _, digest in server.blobs} == set(known)


def test_a_layer_that_nobody_has_is_named(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    image = add_image(store, os.urandom(50_000))
    (lost,) = drop_layers(store, image)
    target = parse_reference(f"{server.host}/b:1")
    with pytest.raises(ImageError, match=lost) as caught:
        push_image(store, image, target, reach(server.host))
    assert caught.value.code == "store.missing"
    assert server.count("PUT", "/manifests/") == 0


def test_what_fetching_raises_ends_the_push(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    image = add_image(store, os.urandom(50_000), os.urandom(50_000))
    drop_layers(store, image)

    def fetch(blob: Descriptor) -> None:
        raise RegistryError("registry.not-found", f"no `{blob.digest}`")

    target = parse_reference(f"{server.host}/b:1")
    with pytest.raises(RegistryError) as caught:
        push_image(store, image, target, reach(server.host), fetch=fetch)
    assert caught.value.code == "registry.not-found"
    assert server.count("PUT", "/manifests/") == 0


def test_an_index_comes_after_all_of_its_images(
    server: FaultyRegistry, reach: Open, store: Store
) -> None:
    shared = os.urandom(50_000)
    amd = add_image(store, shared, os.urandom(40_000))
    arm = add_image(store, shared, os.urandom(40_000), architecture="arm64")
    index = add_index(store, {"amd64": amd, "arm64": arm})
    barrier = threading.Barrier(2, timeout=30)

    def together(handler: Handler) -> None:
        barrier.wait()
        server.serve(handler)

    server.script("PUT", "/manifests/sha256:", together, together)
    target = parse_reference(f"{server.host}/b:1")
    report = push_image(store, index, target, reach(server.host))
    assert report.blobs_sent == 5
    order = [s.path.rpartition("/")[2] for s in server.seen if "/manifests/" in s.path]
    assert order[0] == "1"  # asked for
    assert set(order[1:-1]) == {amd.digest, arm.digest}
    assert order[-1] == "1"
    assert push_image(store, index, target, reach(server.host)).blobs_sent == 0


@pytest.mark.registry
def test_two_platforms_arrive_under_one_name(
    registry: RunningRegistry, reach: Open, store: Store, tmp_path: Path
) -> None:
    names = ("amd64", "arm64")
    images = {name: add_image(store, name.encode(), architecture=name) for name in names}
    index = add_index(store, images)
    target = parse_reference(f"{registry.host}/tests/{uuid.uuid4().hex}:1")
    remote = reach(registry.host)
    push_image(store, index, target, remote)
    again = PushReport(blobs_there=4)
    assert push_image(store, index, target, remote) == again
    for name, image in images.items():
        found = resolve_image(remote, target, Store(tmp_path / name), os="linux", architecture=name)
        assert found.digest == image.digest


@pytest.mark.registry
def test_an_image_is_known_without_its_layers(
    registry: RunningRegistry, reach: Open, store: Store, tmp_path: Path
) -> None:
    image = add_image(store, os.urandom(50_000), os.urandom(60_000))
    target = parse_reference(f"{registry.host}/tests/{uuid.uuid4().hex}:1")
    remote = reach(registry.host)
    push_image(store, image, target, remote)
    other = Store(tmp_path / "other")
    found = resolve_image(remote, target, other, os="linux", architecture="amd64")
    config, *layers = blobs_of(store, image)
    assert found.digest == image.digest
    assert other.read(config.digest) == store.read(config.digest)
    assert not any(other.has(layer.digest) for layer in layers)
    # By digest it is then answered without the registry, and one layer can be had alone.
    pinned = parse_reference(f"{target.name}@{image.digest}")
    nowhere = reach("127.0.0.1:1")
    kept = resolve_image(nowhere, pinned, other, os="linux", architecture="amd64")
    assert kept.digest == found.digest
    remote.fetch_blob(target.repository, layers[1], other)
    assert [other.has(layer.digest) for layer in layers] == [False, True]
    # From such a store it can be pushed to where its layers are mounted.
    known = {layer.digest: [target.name] for layer in layers}
    copy = parse_reference(f"{registry.host}/tests/{uuid.uuid4().hex}:1")
    report = push_image(other, found, copy, remote, known=known)
    assert (report.blobs_sent, report.blobs_mounted) == (1, 2)
    with pytest.raises(RegistryError) as caught:
        resolve_image(nowhere, pinned, Store(tmp_path / "x"), os="linux", architecture="amd64")
    assert caught.value.code == "registry.unreachable"


def nest(store: Store, *children: Descriptor) -> Descriptor:
    """Put an index into the store that names others, without a platform."""
    entries = [child.to_json() for child in children]
    value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    digest, size = store.add(json.dumps(value).encode())
    return Descriptor(media_type=OCI_INDEX, digest=digest, size=size)


@pytest.mark.registry
def test_a_platform_is_found_in_an_index_of_indexes(
    registry: RunningRegistry, reach: Open, store: Store
) -> None:
    amd, arm = add_image(store, b"amd"), add_image(store, b"arm", architecture="arm64")
    inner = [add_index(store, {"amd64": amd}), nest(store, add_index(store, {"arm64": arm}))]
    target = parse_reference(f"{registry.host}/tests/{uuid.uuid4().hex}:1")
    remote = reach(registry.host)
    push_image(store, nest(store, *inner), target, remote)
    for architecture, image in {"amd64": amd, "arm64": arm}.items():
        found = resolve_digest(remote, target, os="linux", architecture=architecture)
        assert found == image.digest
    with pytest.raises(RegistryError, match=r"`linux/amd64`, `linux/arm64`") as caught:
        resolve_digest(remote, target, os="linux", architecture="s390x")
    assert caught.value.code == "registry.platform-missing"


def test_a_chain_of_indexes_has_an_end(server: FaultyRegistry, reach: Open, store: Store) -> None:
    last = nest(store)
    for _ in range(20):
        last = nest(store, last)
    push_image(store, last, parse_reference(f"{server.host}/b:1"), reach(server.host))
    before = server.count("GET", "/manifests/")
    with pytest.raises(RegistryError) as caught:
        resolve_digest(
            reach(server.host),
            parse_reference(f"{server.host}/b:1"),
            os="linux",
            architecture="amd64",
        )
    assert caught.value.code == "registry.platform-missing"
    assert server.count("GET", "/manifests/") < before + 8


@pytest.mark.registry
@pytest.mark.parametrize("kind", ["docker", "zstd"])
def test_other_media_types_arrive_as_they_are(
    registry: RunningRegistry, reach: Open, store: Store, kind: str
) -> None:
    text = store.read(add_image(store, b"one").digest).decode()
    names = {
        "docker": {
            OCI_MANIFEST: DOCKER_MANIFEST,
            OCI_CONFIG: DOCKER_CONFIG,
            OCI_LAYER_GZIP: DOCKER_LAYER_GZIP,
        },
        "zstd": {OCI_LAYER_GZIP: OCI_LAYER_ZSTD},
    }[kind]
    for old, new in names.items():
        text = text.replace(old, new)
    digest, size = store.add(text.encode())
    media_type = json.loads(text)["mediaType"]
    platform = ImagePlatform(os="linux", architecture="amd64")
    image = Descriptor(media_type=media_type, digest=digest, size=size, platform=platform)
    index_type = DOCKER_INDEX if kind == "docker" else OCI_INDEX
    value = {"schemaVersion": 2, "mediaType": index_type, "manifests": [image.to_json()]}
    digest, size = store.add(json.dumps(value).encode())
    index = Descriptor(media_type=index_type, digest=digest, size=size)
    target = parse_reference(f"{registry.host}/tests/{uuid.uuid4().hex}:1")
    remote = reach(registry.host)
    push_image(store, index, target, remote)
    assert remote.find_manifest(target.repository, "1") == index
    found, data = remote.read_manifest(target.repository, image.digest)
    assert (found.media_type, data.decode()) == (media_type, text)
    assert resolve_digest(remote, target, os="linux", architecture="amd64") == image.digest
