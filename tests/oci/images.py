"""Small images for the tests of this room."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile

from envbuild.oci.descriptor import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    ImagePlatform,
)
from envbuild.oci.reference import Reference
from envbuild.oci.registry import Registry
from envbuild.oci.store import Store
from envbuild.oci.transfer import resolve_image

__all__ = ["add_image", "add_index", "make_layer", "pull_image"]


def pull_image(
    registry: Registry, reference: Reference, store: Store, *, os: str, architecture: str
) -> Descriptor:
    """Bring an image into the store with all of its layers."""
    found = resolve_image(registry, reference, store, os=os, architecture=architecture)
    for layer in json.loads(store.read(found.digest))["layers"]:
        registry.fetch_blob(reference.repository, Descriptor.from_json(layer), store)
    return found


def make_layer(name: str, data: bytes) -> bytes:
    """Return a gzipped tar of one file, the same for the same arguments."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), 1, mtime=0)


def add_image(
    store: Store, *contents: bytes, architecture: str = "amd64", label: str = ""
) -> Descriptor:
    """Put an image into the store, a layer for each of `contents`; return its manifest."""
    layers, diff_ids = [], []
    for number, content in enumerate(contents or (os.urandom(1000),)):
        blob = make_layer(f"file-{number}", content)
        digest, size = store.add(blob)
        layers.append(Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=size))
        diff_ids.append("sha256:" + hashlib.sha256(gzip.decompress(blob)).hexdigest())
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Labels": {"test": label}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    digest, size = store.add(json.dumps(config).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor(media_type=OCI_CONFIG, digest=digest, size=size).to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    digest, size = store.add(json.dumps(manifest).encode())
    return Descriptor(media_type=OCI_MANIFEST, digest=digest, size=size)


def add_index(store: Store, images: dict[str, Descriptor]) -> Descriptor:
    """Put an index of images by architecture into the store."""
    children = []
    for architecture, image in images.items():
        platform = ImagePlatform(os="linux", architecture=architecture)
        child = Descriptor(
            media_type=image.media_type, digest=image.digest, size=image.size, platform=platform
        )
        children.append(child.to_json())
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}
    digest, size = store.add(json.dumps(index).encode())
    return Descriptor(media_type=OCI_INDEX, digest=digest, size=size)
