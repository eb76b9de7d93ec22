"""Makes sure that exactly the wanted image is in the store, and does no work else.

"In the store" means manifest and configuration; a layer may also be where a registry has it, until
somebody needs its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from envbuild.errors import ImageError
from envbuild.image.blobs import is_reachable, list_blobs
from envbuild.image.plan import EnvironmentPlan, ImagePlan
from envbuild.image.site import Site
from envbuild.kit.files import exclusive
from envbuild.lock.model import Artifact
from envbuild.oci.descriptor import Descriptor

if TYPE_CHECKING:
    from envbuild.image.assemble import LayerSource

__all__ = ["Ensured", "ensure_environment", "ensure_image", "find_environment", "find_image"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ensured:
    """An image, or the index of several, that is there now, and what it took.

    Of envbuild's own `layers`, `made` are new, and `listed` came out of a registry's index; all 0
    where nothing had to be done (`was_there`). `seconds` is the time of each step.
    """

    manifest: Descriptor
    was_there: bool = False
    layers: int = 0
    made: int = 0
    listed: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


def find_image(site: Site, plan: ImagePlan) -> Descriptor | None:
    """Return the manifest of one platform's image if all of it is to be had.

    What a machine that lost its power cut short is not there: it is made again.
    """
    found = site.store.find(plan.own_reference)
    if found is None:
        return None
    try:
        blobs = list_blobs(site, found)
    except (ImageError, ValueError, KeyError):
        return None
    return found if all(is_reachable(site, blob) for blob in blobs) else None


def find_environment(site: Site, plan: EnvironmentPlan) -> Descriptor | None:
    """Return the manifest or index of the environment's image if all of it is to be had."""
    children = [find_image(site, image) for image in plan.images]
    if None in children:
        return None
    if len(children) == 1:
        return children[0]
    found = site.store.find(plan.reference)
    return found if found is not None and site.store.has(found.digest, found.size) else None


def ensure_environment(site: Site, plan: EnvironmentPlan) -> Ensured:
    """Return the environment's image on all of its platforms, assembled where it is not there."""
    found = None if site.fresh else find_environment(site, plan)
    if found is not None:
        return Ensured(manifest=found, was_there=True)
    parts = [ensure_image(site, image) for image in plan.images]
    if len(parts) == 1:
        return parts[0]
    from envbuild.image.config import render_index

    children = [(i.recipe.platform, p.manifest) for i, p in zip(plan.images, parts, strict=True)]
    media_type, data = render_index(plan.digest, children)
    digest, size = site.store.add(data)
    manifest = Descriptor(media_type=media_type, digest=digest, size=size)
    site.store.name(plan.reference, manifest)
    return Ensured(
        manifest=manifest,
        layers=sum(part.layers for part in parts),
        made=sum(part.made for part in parts),
        listed=sum(part.listed for part in parts),
        seconds=_add_up([part.seconds for part in parts]),
    )


def _add_up(tables: list[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for table in tables:
        for step, seconds in table.items():
            total[step] = total.get(step, 0.0) + seconds
    return total


def ensure_image(site: Site, plan: ImagePlan) -> Ensured:
    """Return one platform's image, assembled where it is not there."""
    found = None if site.fresh else find_image(site, plan)
    if found is not None:
        return Ensured(manifest=found, was_there=True)
    lock = site.cache.root / "building" / f"{plan.digest.removeprefix('sha256:')}.lock"

    def say() -> None:
        site.progress.update(plan.name, "waiting for another build of the same image")

    with exclusive(lock, waiting=say):
        found = None if site.fresh else find_image(site, plan)
        if found is not None:
            return Ensured(manifest=found, was_there=True)
        return _assemble(site, plan)


def _assemble(site: Site, plan: ImagePlan) -> Ensured:
    from envbuild.image.assemble import assemble_image
    from envbuild.image.base import find_base

    site.progress.update(plan.name, "planning")
    done = assemble_image(
        plan.recipe,
        plan.digest,
        base=find_base(site, plan),
        source=find_source(site, plan),
        site=site,
        task=plan.name,
    )
    site.store.name(plan.own_reference, done.manifest)
    return Ensured(
        manifest=done.manifest,
        layers=len(done.layers),
        made=done.made,
        listed=done.listed,
        seconds=done.seconds,
    )


def find_source(site: Site, plan: ImagePlan) -> LayerSource:
    """Return what the image's layers are made of."""
    from envbuild.image.assemble import LayerSource
    from envbuild.image.files import Supply, fetch_artifacts
    from envbuild.image.layer_index import open_index

    supply = Supply(
        spec=plan.spec, platform=plan.recipe.platform, python_minor=plan.recipe.python_minor,
        settings=site.settings, cache=site.cache, provenance=plan.provenance,
    )  # fmt: skip

    def fetch(artifacts: tuple[Artifact, ...]) -> Mapping[str, Path]:
        return fetch_artifacts(artifacts, supply=supply, progress=site.progress, task=plan.name)

    def find_compiler() -> tuple[str, ...]:
        from envbuild.image.interpreter import ensure_interpreter

        return ensure_interpreter(
            plan.recipe.bytecode, artifacts=plan.host_artifacts, fetch=fetch, cache=site.cache,
            progress=site.progress, task=plan.name,
        )  # fmt: skip

    index = open_index(site, plan.repository) if plan.repository else None
    return LayerSource(fetch=fetch, find_compiler=find_compiler, index=index, trees=plan.sources)
