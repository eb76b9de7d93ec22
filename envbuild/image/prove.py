"""Proves a layer that somebody else made: its whole blob, its whole plain tar."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from envbuild.errors import ImageError
from envbuild.image.blobs import ensure_blobs
from envbuild.image.config import Layer
from envbuild.image.site import Site
from envbuild.kit.canonical import CHUNK
from envbuild.oci.descriptor import OCI_LAYER_ZSTD, Descriptor
from envbuild.oci.store import Store

__all__ = ["prove_layer", "read_plain"]

_GZIP_BITS: Final = 31


def prove_layer(site: Site, layer: Layer, repository: str, *, task: str) -> None:
    """Fetch the layer's blob from `repository` (`host/path`) and compare both of its digests.

    Raises `ImageError` `image.unproven`; a blob that is not what it should be isn't kept.
    """
    site.origins.remember(layer.blob.digest, repository)
    ensure_blobs(site, [layer.blob], task=task)
    plain, size = hashlib.sha256(), 0
    for data in read_plain(site.store, layer.blob):
        plain.update(data)
        size += len(data)
    if (f"sha256:{plain.hexdigest()}", size) != (layer.diff_id, layer.plain_size):
        raise ImageError(
            "image.unproven",
            f"`{repository}` has another layer than its index says: `{layer.blob.digest[:19]}`",
            hint="somebody changed the layer index; remove its repository from the registry, and "
            "have it made again by `nox -s build-env -- --push`",
        )


def read_plain(store: Store, blob: Descriptor) -> Iterator[bytes]:
    """Yield a layer's plain tar in steps of constant size."""
    if blob.media_type == OCI_LAYER_ZSTD:
        yield from _unpack_zstd(store, blob.digest)
    else:
        yield from _unpack_gzip(store, blob.digest)


def _unpack_gzip(store: Store, digest: str) -> Iterator[bytes]:
    from isal import isal_zlib

    inflate = isal_zlib.decompressobj(wbits=_GZIP_BITS)
    for data in store.chunks(digest):
        left = data
        while left:
            if inflate.eof:
                inflate = isal_zlib.decompressobj(wbits=_GZIP_BITS)
            yield inflate.decompress(left)
            left = inflate.unused_data


def _unpack_zstd(store: Store, digest: str) -> Iterator[bytes]:
    import zstandard

    with (
        store.path(digest).open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as reader,
    ):
        while data := reader.read(CHUNK):
            yield data
