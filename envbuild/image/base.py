"""Gets to know a base image: its configuration and the names of its layers, not their bytes."""

from __future__ import annotations

import json
from pathlib import Path

from envbuild.image.config import BaseParts
from envbuild.image.plan import ImagePlan
from envbuild.image.site import Site
from envbuild.oci.descriptor import Descriptor
from envbuild.spec.platforms import PLATFORMS

__all__ = ["find_base"]


def find_base(site: Site, plan: ImagePlan) -> BaseParts:
    """Return the parts of the image's base; empty for what is assembled from nothing.

    Of a registry's image, manifest and configuration come into the store; its layers are fetched,
    or mounted, where somebody needs them. What a Dockerfile builds is built if need be. Raises
    `RegistryError`, `EngineError`.
    """
    if plan.recipe.base.kind == "dockerfile":
        return _build(site, plan)
    if plan.recipe.base.kind != "image":
        return BaseParts()
    from envbuild.oci.reference import parse_reference
    from envbuild.oci.transfer import resolve_image

    base = plan.recipe.base
    platform = PLATFORMS[plan.recipe.platform]
    reference = parse_reference(f"{base.reference.partition('@')[0]}@{base.digest}")
    found = resolve_image(
        site.open_registry(reference.registry), reference, site.store,
        os=platform.os, architecture=platform.architecture,
    )  # fmt: skip
    manifest = json.loads(site.store.read(found.digest))
    layers = tuple(Descriptor.from_json(layer) for layer in manifest["layers"])
    for layer in layers:
        site.origins.remember(layer.digest, reference.name)
    config = json.loads(site.store.read(manifest["config"]["digest"]))
    return BaseParts(config=config, layers=layers)


def _build(site: Site, plan: ImagePlan) -> BaseParts:
    from envbuild.image.dockerfile import ensure_dockerfile_base

    parts, built = ensure_dockerfile_base(
        site,
        plan.spec.image,
        plan.recipe.base,
        root=plan.provenance.root if plan.provenance else Path(),
        platform=plan.recipe.platform,
        task=plan.name,
    )
    if built:
        site.progress.note(
            f"{plan.name}: Docker Engine built the base from a Dockerfile; what that downloads is "
            "not locked, so the image is not reproducible"
        )
    return parts
