"""Finds the manifest that a reference means on one platform: in an index, in an index of that, or
in a lone manifest, whose configuration says what it is for.

Format: OCI image specification 1.1, `image-index.md`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from envbuild.errors import RegistryError
from envbuild.oci.descriptor import Descriptor, ImagePlatform
from envbuild.oci.reference import Reference
from envbuild.oci.registry import Registry

__all__ = ["check_platform", "find_manifest", "read_blobs", "read_children"]

_PLAIN_VARIANTS: Final = {"arm64": ("", "v8"), "amd64": ("", "v1"), "arm": ("v7", "", "v6")}
"""Variants of an architecture that any machine of it runs, the best first."""

_DEEPEST: Final = 4
"""Indexes in indexes that are looked into; nobody nests them deeper on purpose."""


def find_manifest(
    registry: Registry, reference: Reference, wanted: ImagePlatform
) -> tuple[Descriptor, bytes, bytes | None]:
    """Return the platform's manifest with its bytes, and its configuration if that had to be read.

    Raises `RegistryError` `registry.not-found`, `registry.platform-missing`.
    """
    found, data = registry.read_manifest(reference.repository, reference.target)
    if not found.is_index:
        config = registry.read_blob(reference.repository, read_blobs(data)[0].digest)
        check_platform(config, wanted, reference)
        return found, data, config
    offered: dict[str, None] = {}
    chosen = _search(registry, reference, data, wanted, offered, 1)
    if chosen is None:
        raise _platform_missing(reference, wanted, offered)
    return *chosen, None


def check_platform(config: bytes, wanted: ImagePlatform, reference: Reference) -> None:
    """Raise `registry.platform-missing` if a configuration is another platform's."""
    value = _parse(config)
    has = ImagePlatform(os=str(value.get("os")), architecture=str(value.get("architecture")))
    if has != wanted:
        raise _platform_missing(reference, wanted, [str(has)])


def read_blobs(manifest: bytes) -> list[Descriptor]:
    """Return configuration and layers, each digest once."""
    value = _parse(manifest)
    entries = [value.get("config"), *value.get("layers", ())]
    return list({d.digest: d for d in map(Descriptor.from_json, entries)}.values())


def read_children(index: bytes) -> list[Descriptor]:
    """Return the manifests that an index lists."""
    return [Descriptor.from_json(entry) for entry in _parse(index).get("manifests", ())]


def _search(
    registry: Registry,
    reference: Reference,
    index: bytes,
    wanted: ImagePlatform,
    offered: dict[str, None],
    depth: int,
) -> tuple[Descriptor, bytes] | None:
    """Look for the platform in an index; note in `offered` what there is instead."""
    children = read_children(index)
    offered.update(dict.fromkeys(_list_platforms(children)))
    best = _choose(children, wanted)
    # An index within has a platform only if all below it is for that one.
    nested = [c for c in children if c.is_index and c.platform is None]
    for child in [best] if best else nested:
        found, data = registry.read_manifest(reference.repository, child.digest)
        if not found.is_index:
            return found, data
        if depth < _DEEPEST:
            chosen = _search(registry, reference, data, wanted, offered, depth + 1)
            if chosen is not None:
                return chosen
    return None


def _choose(children: Sequence[Descriptor], wanted: ImagePlatform) -> Descriptor | None:
    for variant in _PLAIN_VARIANTS.get(wanted.architecture, ("",)):
        for child in children:
            if child.platform is not None and (
                child.platform.os,
                child.platform.architecture,
                child.platform.variant,
            ) == (wanted.os, wanted.architecture, variant):
                return child
    return None


def _list_platforms(children: Sequence[Descriptor]) -> Iterator[str]:
    """Yield what there is; attestations have the platform `unknown`."""
    for child in children:
        if child.platform is not None and child.platform.os != "unknown":
            yield str(child.platform)


def _parse(manifest: bytes) -> Mapping[str, Any]:
    value: Any = json.loads(manifest)
    return value if isinstance(value, dict) else {}


def _platform_missing(
    reference: Reference, wanted: ImagePlatform, there: Sequence[str] | Mapping[str, None]
) -> RegistryError:
    offered = ", ".join(f"`{name}`" for name in there) or "none"
    return RegistryError(
        "registry.platform-missing",
        f"`{reference}` is not made for `{wanted}`; there is: {offered}",
        hint="choose a base image that is made for the platform, or take the platform out of "
        "`platforms`",
    )
