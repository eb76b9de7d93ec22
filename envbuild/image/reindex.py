"""Makes a registry's layer index anew from the images that are there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from envbuild.image.config import DIFF_ID, KEY, PLAIN_SIZE, Layer
from envbuild.image.layer_index import LayerIndex
from envbuild.image.shelf import find_layer
from envbuild.oci.descriptor import Descriptor

__all__ = ["Reindexed", "rebuild_index"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reindexed:
    """How many images were read, how many layers are listed, and how many didn't prove true."""

    images: int
    listed: int
    refused: int


def rebuild_index(index: LayerIndex, names: Sequence[str]) -> Reindexed:
    """List every layer of every image of the environments `names` beside the index.

    A layer's manifest says its key, and the blob's own end has to say the same. Raises
    `RegistryError`.
    """
    images = listed = refused = 0
    place = index.repository.rpartition("/")[0]
    for name in names:
        repository = f"{place}/{name}" if place else name
        index.site.progress.update(name, "reading images")
        layers: dict[str, Layer] = {}
        for manifest in _read_images(index, repository):
            images += 1
            layers |= {layer.key: layer for layer in _list_layers(manifest)}
        proven = [layer for layer in layers.values() if index.is_sealed(layer, repository)]
        refused += len(layers) - len(proven)
        known = [_complete(index, layer) for layer in proven]
        listed += index.publish(known, source=repository, task=name, again=True)
        index.site.progress.finish(name, f"{len(proven)} layers listed")
    return Reindexed(images=images, listed=listed, refused=refused)


def _read_images(index: LayerIndex, repository: str) -> Iterator[dict[str, Any]]:
    """Yield the manifest of each image; of an index, those of its platforms."""
    for tag in index.registry.list_tags(repository):
        described, data = index.registry.read_manifest(repository, tag)
        value = json.loads(data)
        if not described.is_index:
            yield value
            continue
        for child in value["manifests"]:
            yield json.loads(index.registry.read_manifest(repository, child["digest"])[1])


def _list_layers(manifest: dict[str, Any]) -> Iterator[Layer]:
    for described in manifest.get("layers", ()):
        said = described.get("annotations") or {}
        if KEY in said and DIFF_ID in said and str(said.get(PLAIN_SIZE)).isdecimal():
            blob = Descriptor.from_json({**described, "annotations": {}})
            yield Layer(
                key=said[KEY], blob=blob, diff_id=said[DIFF_ID],
                plain_size=int(said[PLAIN_SIZE]), title="",
            )  # fmt: skip


def _complete(index: LayerIndex, layer: Layer) -> Layer:
    """Return the layer with its contents, where this machine has made it."""
    known = find_layer(index.site, layer.key, "")
    return known if known is not None and known.blob == layer.blob else layer
