"""Gets to know a base image: its configuration and the names of its layers, not their bytes."""

from __future__ import annotations

import json

from envbuild.image.config import BaseParts
from envbuild.image.plan import ImagePlan
from envbuild.image.site import Site
from envbuild.oci.descriptor import Descriptor
from envbuild.oci.reference import parse_reference
from envbuild.oci.transfer import resolve_image
from envbuild.spec.platforms import PLATFORMS

__all__ = ["find_base"]


def find_base(site: Site, plan: ImagePlan) -> BaseParts:
    """Return the parts of the image's base; empty for what is assembled from nothing.

    Of a registry's image, manifest and configuration come into the store; its layers are fetched,
    or mounted, where somebody needs them. Raises `RegistryError`.
    """
    if plan.recipe.base.kind != "image":
        return BaseParts()
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
