"""The layer index of a registry: any machine finds, by its key, a layer that another one made.

It is a repository beside the images, `envbuild-layers`, with a one-layer image for each layer,
tagged with the beginning of its key: the blob lives as long as its entry, is mounted from there,
and registries of every kind take it. Annotations of the layer's descriptor say what it is.

An entry is somebody's word. What is damaged or mixed up is found before anything is published:
the registry's manifest is proven by its digest, and the blob's own last bytes (`layers.seal`) must
give the same key, diff ID and size. Against who may write to the registry and means harm, set
`ENVBUILD_LAYER_KEY`: entries are signed with it (HMAC-SHA-256), and others are not believed. With
`verify-layers`, each blob is fetched and proven in full.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from envbuild.errors import RegistryError
from envbuild.image.blobs import ensure_blobs
from envbuild.image.config import KEY, Layer, annotate_layer
from envbuild.image.prove import prove_layer
from envbuild.image.shelf import read_facts, say_facts
from envbuild.image.site import Site
from envbuild.kit.canonical import canonical_json
from envbuild.kit.crew import run_crew
from envbuild.layers.seal import SEAL_SIZE, Seal, parse_seal
from envbuild.oci.descriptor import OCI_CONFIG, OCI_MANIFEST, Descriptor
from envbuild.oci.reference import parse_reference

if TYPE_CHECKING:
    from envbuild.oci.registry import Registry

__all__ = ["INDEX_NAME", "LayerIndex", "open_index"]

INDEX_NAME: Final = "envbuild-layers"
"""Name of the repository; no environment's name may begin with `envbuild-`."""

SECRET: Final = "ENVBUILD_LAYER_KEY"  # noqa: S105 - the name of a variable

_FACTS: Final = "envbuild.layer.facts"
_SIGNATURE: Final = "envbuild.layer.signature"
_THREADS: Final = 8
_TAG_DIGITS: Final = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerIndex:
    """The index in one repository of one registry."""

    site: Site
    registry: Registry
    repository: str

    @property
    def name(self) -> str:
        """The repository with its host, as origins have it."""
        return f"{self.registry.host}/{self.repository}"

    def find(self, wanted: Sequence[tuple[str, str]], *, task: str) -> dict[str, Layer]:
        """Return those layers of `wanted` (key, title) that the index has and that prove true.

        Notes entries that don't. Raises `RegistryError` where the registry can't tell.
        """
        done = 0

        def look(item: tuple[str, str], check: Callable[[], None]) -> Layer | None:
            nonlocal done
            check()
            layer = self._look(*item, task=task)
            done += 1
            self.site.progress.update(task, "asking for known layers", done, len(wanted))
            return layer

        found = run_crew(look, wanted, threads=_THREADS)
        return {layer.key: layer for layer in found if layer is not None}

    def _look(self, key: str, title: str, *, task: str) -> Layer | None:
        entry = self.registry.read_manifest_if_any(self.repository, _format_tag(key))
        if entry is None:
            return None
        try:
            layer = self._read(key, title, json.loads(entry[1]))
            self._check(layer)
            if self.site.settings.verify_layers:
                prove_layer(self.site, layer, self.name, task=task)
        except _BadEntryError as error:
            entry_name = f"{self.name}:{_format_tag(key)}"
            self.site.progress.note(f"the layer index's entry `{entry_name}` is not used: {error}")
            return None
        self.site.origins.remember(layer.blob.digest, self.name)
        return layer

    def _read(self, key: str, title: str, manifest: Any) -> Layer:
        try:
            (described,) = manifest["layers"]
            blob = Descriptor.from_json(described)
            facts = json.loads(described["annotations"][_FACTS])
            layer = read_facts(key, title, facts)
            signature = str(described["annotations"].get(_SIGNATURE, ""))
            said = str(described["annotations"][KEY])
        except (ValueError, KeyError, TypeError, RegistryError):
            raise _BadEntryError("it is not what envbuild writes") from None
        if said != key or layer.blob != _plain(blob):
            raise _BadEntryError("it is about another layer")
        secret = os.environ.get(SECRET)
        if secret and not hmac.compare_digest(signature, _sign(secret, layer)):
            raise _BadEntryError(f"it is not signed with this machine's {SECRET}")
        return layer

    def _check(self, layer: Layer) -> None:
        """Compare an entry with what the blob says of itself."""
        if not self.is_sealed(layer, self.repository):
            raise _BadEntryError(f"the blob `{layer.blob.digest[:19]}` is not that layer")

    def is_sealed(self, layer: Layer, repository: str) -> bool:
        """Return whether the blob, which `repository` has, says that it is this layer."""
        end = self.registry.read_blob_end(repository, layer.blob, SEAL_SIZE)
        wanted = Seal(key=layer.key, diff_id=layer.diff_id, plain_size=layer.plain_size)
        return end is not None and parse_seal(end) == wanted

    def publish(
        self,
        layers: Iterable[Layer],
        *,
        source: str,
        task: str,
        again: bool = False,
        doubted: Container[str] = (),
    ) -> int:
        """List the layers, whose blobs the repository `source` of this registry has.

        Returns how many entries are new. Layers that are known to be listed cost nothing, but
        with `again` nothing is known, and of the blobs `doubted` the registry is asked.
        """
        origins = self.site.origins

        def is_listed(layer: Layer) -> bool:
            digest = layer.blob.digest
            if again or self.name not in origins.find(digest):
                return False
            return digest not in doubted or self._has_entry(layer)

        new = [layer for layer in layers if not is_listed(layer)]

        def put(layer: Layer, check: Callable[[], None]) -> None:
            check()
            self._put(layer, source)
            origins.remember(layer.blob.digest, self.name)

        if new:
            self.site.progress.update(task, "listing new layers")
            run_crew(put, new, threads=_THREADS)
        return len(new)

    def _has_entry(self, layer: Layer) -> bool:
        return self.registry.find_manifest(self.repository, _format_tag(layer.key)) is not None

    def _put(self, layer: Layer, source: str) -> None:
        store = self.site.store
        config = canonical_json(
            {
                "architecture": "unknown",
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
            }
        )
        digest, size = store.add(config)
        described = Descriptor(media_type=OCI_CONFIG, digest=digest, size=size)
        self.registry.push_blob(self.repository, described, store)
        self._mount(layer.blob, source)
        manifest = self._render(layer, described)
        self.registry.push_manifest(self.repository, _format_tag(layer.key), OCI_MANIFEST, manifest)

    def _mount(self, blob: Descriptor, source: str) -> None:
        answer = self.registry.mount_blob(self.repository, blob, source)
        if answer == "mounted":
            return
        ensure_blobs(self.site, [blob], task=self.name)
        self.registry.push_blob(self.repository, blob, self.site.store, session=answer)

    def _render(self, layer: Layer, config: Descriptor) -> bytes:
        annotations = annotate_layer(layer) | {_FACTS: canonical_json(say_facts(layer)).decode()}
        if secret := os.environ.get(SECRET):
            annotations[_SIGNATURE] = _sign(secret, layer)
        return canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": config.to_json(),
                "layers": [{**layer.blob.to_json(), "annotations": annotations}],
            }
        )


class _BadEntryError(Exception):
    """An entry that is not believed, and why."""


def open_index(site: Site, repository: str) -> LayerIndex | None:
    """Return the index beside the images of `repository` (`host/path`); None if it is off."""
    if not site.settings.layer_index:
        return None
    reference = parse_reference(f"{repository}/{INDEX_NAME}")
    return LayerIndex(
        site=site,
        registry=site.open_registry(reference.registry),
        repository=reference.repository,
    )


def _format_tag(key: str) -> str:
    return key.removeprefix("sha256:")[:_TAG_DIGITS]


def _plain(blob: Descriptor) -> Descriptor:
    return Descriptor(media_type=blob.media_type, digest=blob.digest, size=blob.size)


def _sign(secret: str, layer: Layer) -> str:
    said = canonical_json({"key": layer.key, **say_facts(layer)})
    return hmac.new(secret.encode(), said, hashlib.sha256).hexdigest()
