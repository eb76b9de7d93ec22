"""Tells what is in an image, here or in the registry: its digests, its layers, their packages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from envbuild.errors import ImageError
from envbuild.image.config import DIFF_ID, KEY, PLAIN_SIZE, Content
from envbuild.image.ensure import find_environment, find_image
from envbuild.image.layer_index import LayerIndex, open_index
from envbuild.image.plan import EnvironmentPlan, ImagePlan
from envbuild.image.shelf import find_layer
from envbuild.image.site import Site
from envbuild.oci.descriptor import Descriptor
from envbuild.oci.reference import parse_reference
from envbuild.spec.platforms import PLATFORMS

__all__ = ["ImageReport", "LayerReport", "describe_platform", "find_manifest"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerReport:
    """One layer, lowest first: `size` is what is moved, `plain_size` what it is unpacked (bytes).

    A base's layers have no key, and their plain size isn't known (0).
    """

    digest: str
    diff_id: str
    size: int
    plain_size: int
    title: str
    key: str = ""
    contents: tuple[Content, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageReport:
    """One platform's image as it is, wherever it was found."""

    platform: str
    found: Literal["here", "registry"]
    manifest: str
    config_digest: str
    config: Mapping[str, Any]
    layers: tuple[LayerReport, ...]


def describe_platform(site: Site, plan: EnvironmentPlan, image: ImagePlan) -> ImageReport:
    """Return what is in one platform's image; in the registry if this machine hasn't got it.

    Raises `ImageError` `image.not-built` where neither has it, `RegistryError` where the registry
    can't tell.
    """
    local = find_image(site, image)
    if local is not None:
        manifest = json.loads(site.store.read(local.digest))
        config = site.store.read(manifest["config"]["digest"])
        return _report(site, image, "here", local.digest, manifest, config)
    return _describe_remote(site, plan, image)


def find_manifest(site: Site, plan: EnvironmentPlan) -> str:
    """Return the digest by which the whole environment's image is pulled; "" if nobody has it.

    For several platforms that is the index's. Raises `RegistryError` where the registry can't
    tell.
    """
    local = find_environment(site, plan)
    if local is not None:
        return local.digest
    if plan.repository is None:
        return ""
    reference = parse_reference(plan.reference)
    registry = site.open_registry(reference.registry)
    remote = registry.find_manifest(reference.repository, reference.target)
    return remote.digest if remote is not None else ""


def _describe_remote(site: Site, plan: EnvironmentPlan, image: ImagePlan) -> ImageReport:
    found = None
    if plan.repository is not None:
        reference = parse_reference(plan.reference)
        registry = site.open_registry(reference.registry)
        found = registry.read_manifest_if_any(reference.repository, reference.target)
    if found is None:
        where = f" or in `{plan.repository}`" if plan.repository else ""
        raise ImageError(
            "image.not-built",
            f"the image of `{plan.name}` is not on this machine{where}",
            hint=f"to build it, run `nox -s build-env -- {plan.name}`",
        )
    described, data = found
    if described.is_index:
        child = _find_child(json.loads(data), image.recipe.platform)
        described, data = registry.read_manifest(reference.repository, child)
    manifest = json.loads(data)
    config = registry.read_blob(reference.repository, manifest["config"]["digest"])
    return _report(site, image, "registry", described.digest, manifest, config)


def _find_child(index: Mapping[str, Any], subdir: str) -> str:
    platform = PLATFORMS[subdir]
    for child in index["manifests"]:
        if child["platform"]["architecture"] == platform.architecture:
            return str(child["digest"])
    raise ImageError("image.not-built", f"the registry's image has no part for `{subdir}`")


def _report(
    site: Site,
    image: ImagePlan,
    found: Literal["here", "registry"],
    digest: str,
    manifest: Mapping[str, Any],
    config: bytes,
) -> ImageReport:
    value = json.loads(config)
    index = open_index(site, image.repository) if image.repository else None
    return ImageReport(
        platform=image.recipe.platform,
        found=found,
        manifest=digest,
        config_digest=str(manifest["config"]["digest"]),
        config=value,
        layers=tuple(_describe_layers(site, index, manifest, value)),
    )


def _describe_layers(
    site: Site, index: LayerIndex | None, manifest: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[LayerReport]:
    diff_ids = config["rootfs"]["diff_ids"]
    titles = [
        str(item.get("created_by", ""))
        for item in config.get("history") or ()
        if not item.get("empty_layer")
    ]
    if len(titles) != len(diff_ids):
        titles = [""] * len(diff_ids)
    for described, diff_id, title in zip(manifest["layers"], diff_ids, titles, strict=True):
        said = described.get("annotations") or {}
        key = str(said.get(KEY, ""))
        blob = Descriptor.from_json({**described, "annotations": {}})
        yield LayerReport(
            digest=blob.digest,
            diff_id=str(said.get(DIFF_ID, diff_id)),
            size=blob.size,
            plain_size=int(said.get(PLAIN_SIZE, 0)),
            title=title.removeprefix("envbuild "),
            key=key,
            contents=_find_contents(site, index, key) if key else (),
        )


def _find_contents(site: Site, index: LayerIndex | None, key: str) -> tuple[Content, ...]:
    """Return the layer's packages, as the machine that made it counted them."""
    known = find_layer(site, key, "")
    if known is not None or index is None:
        return known.contents if known else ()
    return next((x.contents for x in index.find([(key, "")], task="layers").values()), ())
