"""Promises of `oci.descriptor`: JSON there and back, and nothing odd becomes a path."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.errors import RegistryError
from envbuild.oci.descriptor import (
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_ZSTD,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    Descriptor,
    ImagePlatform,
    check_digest,
    find_oci_type,
)

NAME = st.text(min_size=1, max_size=20)
PLATFORM = st.builds(
    ImagePlatform, os=NAME, architecture=NAME, variant=st.sampled_from(["", "v7", "v8"])
)
DESCRIPTOR = st.builds(
    Descriptor,
    media_type=NAME,
    digest=st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True),
    size=st.integers(0, 2**63),
    annotations=st.dictionaries(NAME, NAME, max_size=3),
    platform=st.none() | PLATFORM,
    artifact_type=st.sampled_from(["", "application/x"]),
)

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["mediaType", "digest", "size", "platform", "annotations", "os"]), inner
        )
    ),
    max_leaves=8,
)


@given(DESCRIPTOR)
def test_a_descriptor_survives_json(descriptor: Descriptor) -> None:
    text = json.dumps(descriptor.to_json())
    assert Descriptor.from_json(json.loads(text)) == descriptor


@given(ANY_JSON)
def test_any_other_json_is_an_error_in_words(value: object) -> None:
    with pytest.raises(RegistryError) as caught:
        Descriptor.from_json(value)
    assert caught.value.code in {"manifest.invalid", "digest.invalid"}


@pytest.mark.parametrize("size", [-1, True, "5", 1.5, None])
def test_a_size_is_a_number_of_bytes(size: object) -> None:
    with pytest.raises(RegistryError, match="`size`"):
        Descriptor.from_json({"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": size})


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:",
        "sha256:../../etc/passwd",
        "sha256:" + "F" * 64,
        "sha256:" + "f" * 63,
        "sha256:" + "f" * 64 + "\n",
        "sha512:" + "f" * 128,
    ],
)
def test_what_is_no_digest_never_becomes_a_path(digest: str) -> None:
    with pytest.raises(RegistryError) as caught:
        check_digest(digest)
    assert caught.value.code == "digest.invalid"


def test_a_platform_reads_as_people_write_it() -> None:
    assert str(ImagePlatform(os="linux", architecture="arm64", variant="v8")) == "linux/arm64/v8"
    assert str(ImagePlatform(os="linux", architecture="amd64")) == "linux/amd64"


def test_dockers_types_have_names_in_oci() -> None:
    assert find_oci_type(DOCKER_LAYER_GZIP) == OCI_LAYER_GZIP
    assert find_oci_type(DOCKER_LAYER) == OCI_LAYER
    assert find_oci_type(DOCKER_LAYER_ZSTD) == OCI_LAYER_ZSTD
    assert find_oci_type(OCI_LAYER_GZIP) == OCI_LAYER_GZIP
    assert find_oci_type("text/plain") == "text/plain"
