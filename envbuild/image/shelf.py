"""The machine's layer index: which blob a layer became, by the layer's key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envbuild.image.config import Content, Layer
from envbuild.image.site import Site
from envbuild.kit.files import write_atomic
from envbuild.kit.places import Cache
from envbuild.oci.descriptor import Descriptor

__all__ = ["find_layer", "read_facts", "remember_layer", "say_facts"]


def find_layer(site: Site, key: str, title: str) -> Layer | None:
    """Return the layer that was made before under this key, if its blob is still to be had."""
    try:
        layer = read_facts(key, title, json.loads(_file(site.cache, key).read_bytes()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    there = site.store.has(layer.blob.digest, layer.blob.size)
    return layer if there or site.origins.find(layer.blob.digest) else None


def remember_layer(site: Site, layer: Layer) -> None:
    """Keep what is known of a layer."""
    write_atomic(_file(site.cache, layer.key), json.dumps(say_facts(layer)))


def say_facts(layer: Layer) -> dict[str, Any]:
    """Return what is known of a layer as JSON's values."""
    return {
        "media_type": layer.blob.media_type,
        "digest": layer.blob.digest,
        "size": layer.blob.size,
        "diff_id": layer.diff_id,
        "plain_size": layer.plain_size,
        "contents": [[c.kind, c.name, c.version, c.files, c.size] for c in layer.contents],
    }


def read_facts(key: str, title: str, facts: Mapping[str, Any]) -> Layer:
    """Return the layer that `say_facts` told; `ValueError`, `KeyError`, `TypeError` for junk."""
    blob = Descriptor(
        media_type=str(facts["media_type"]), digest=str(facts["digest"]), size=int(facts["size"])
    )
    return Layer(
        key=key,
        title=title,
        blob=blob,
        diff_id=str(facts["diff_id"]),
        plain_size=int(facts["plain_size"]),
        contents=tuple(
            Content(kind=kind, name=name, version=version, files=int(files), size=int(size))
            for kind, name, version, files, size in facts["contents"]
        ),
    )


def _file(cache: Cache, key: str) -> Path:
    return cache.layers / f"{key.removeprefix('sha256:')}.json"
