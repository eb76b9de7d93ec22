"""Promises of `oci.download` about a blob's end, which says what a layer is, without the rest."""

from __future__ import annotations

import os

import pytest

from envbuild.errors import RegistryError
from envbuild.oci.descriptor import OCI_LAYER_GZIP, Descriptor
from envbuild.oci.store import Store
from tests.oci.conftest import Open
from tests.rig.registry import FaultyRegistry, RunningRegistry
from tests.rig.scripted import answer

ABSENT = "sha256:" + "0" * 64


def describe(digest: str, size: int) -> Descriptor:
    return Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size)


@pytest.mark.registry
@pytest.mark.parametrize("count", [1, 100, 5_999_999, 6_000_000, 7_000_000])
def test_a_real_registry_gives_a_blobs_end(
    registry: RunningRegistry, reach: Open, store: Store, count: int
) -> None:
    data = os.urandom(6_000_000)
    blob = describe(*store.add(data))
    remote = reach(registry.host)
    remote.push_blob("tests/end", blob, store)
    most = 4 << 20  # longer parts than this are not read at once
    found = remote.read_blob_end("tests/end", blob, count)
    assert found == (data[-count:] if count <= most else None)


@pytest.mark.registry
@pytest.mark.parametrize("size", [1, 5000, 20_000])
def test_a_blob_of_another_size_has_no_end(
    registry: RunningRegistry, reach: Open, store: Store, size: int
) -> None:
    digest, real = store.add(os.urandom(10_000))
    remote = reach(registry.host)
    remote.push_blob("tests/end", describe(digest, real), store)
    assert remote.read_blob_end("tests/end", describe(digest, size), 100) is None


def test_an_absent_blob_has_no_end_and_doubt_is_an_error(
    faulty_registry: FaultyRegistry, reach: Open
) -> None:
    remote = reach(faulty_registry.host)
    assert remote.read_blob_end("a", describe(ABSENT, 1000), 100) is None
    for status in (401, 500):
        faulty_registry.script("GET", "/blobs/", answer(status), forever=True)
        with pytest.raises(RegistryError):
            remote.read_blob_end("a", describe(ABSENT, 1000), 100)


@pytest.mark.parametrize("size", [10_000, 5_000_000])
def test_a_registry_without_ranges_gives_the_end_of_what_is_short(
    faulty_registry: FaultyRegistry, reach: Open, size: int
) -> None:
    data = os.urandom(size)
    digest = faulty_registry.put_blob("a", data)
    found = reach(faulty_registry.host).read_blob_end("a", describe(digest, size), 100)
    assert found == (data[-100:] if size < 1_000_000 else None)
