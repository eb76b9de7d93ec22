"""Puts a layer that comes as a plain tar into the store, packed by the pinned encoder.

Such layers come from outside: a Dockerfile's steps, and what link scripts changed. They are always
gzip, which every engine takes, whatever the image's own layers are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from envbuild.layers.gzip import pack_member
from envbuild.layers.plan import CHUNK
from envbuild.layers.seal import Seal, render_seal
from envbuild.oci.descriptor import OCI_LAYER_GZIP, Descriptor
from envbuild.oci.store import Store

__all__ = ["PlainLayer", "add_plain_layer"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainLayer:
    """A layer in the store: its blob, and the digest and size of its plain tar."""

    blob: Descriptor
    diff_id: str
    plain_size: int


def add_plain_layer(store: Store, pieces: Iterable[bytes], *, key: str = "") -> PlainLayer:
    """Pack the tar that `pieces` are, in constant memory; equal tars give equal blobs.

    With `key`, the blob is sealed as the layer of that key. Raises what `pieces` raises, and
    `EnvbuildError` `disk.full`; the store is then as it was.
    """
    digest, size, waiting = hashlib.sha256(), 0, bytearray()
    with store.writer() as blob:
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            waiting += piece
            while len(waiting) >= CHUNK:
                blob.write(pack_member(bytes(waiting[:CHUNK])))
                del waiting[:CHUNK]
        if waiting:
            blob.write(pack_member(bytes(waiting)))
        diff_id = f"sha256:{digest.hexdigest()}"
        if key:
            blob.write(render_seal(Seal(key=key, diff_id=diff_id, plain_size=size), "gzip"))
    described = Descriptor(media_type=OCI_LAYER_GZIP, digest=blob.digest, size=blob.size)
    return PlainLayer(blob=described, diff_id=diff_id, plain_size=size)
