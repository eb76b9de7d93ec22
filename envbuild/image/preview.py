"""Says what a build would do, and does nothing of it: what is there, fetched, made and pushed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from envbuild.errors import RegistryError
from envbuild.image.assemble import find_layers, plan_jobs
from envbuild.image.blobs import forget_lost
from envbuild.image.config import Layer
from envbuild.image.ensure import find_image, find_source
from envbuild.image.plan import EnvironmentPlan, ImagePlan
from envbuild.image.shelf import find_layer
from envbuild.image.site import Site
from envbuild.image.work import LayerJob
from envbuild.kit.places import Cache
from envbuild.lock.model import Artifact
from envbuild.oci.reference import parse_reference

__all__ = ["LayerPreview", "Preview", "preview_environment"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerPreview:
    """One layer: whether it is on this machine, only in a registry, or to be made.

    `size` is the blob's in bytes; of a layer that is to be made, that of its files or archives: it
    will be bigger where these are packed by xz, or where byte code is made. `push` is what would
    be sent of it.
    """

    platform: str
    title: str
    action: Literal["here", "registry", "make"]
    size: int
    push: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """All that a build of an environment would do. `fetch` are packages to download, by bytes."""

    done: bool
    layers: tuple[LayerPreview, ...]
    packages: int
    fetch: int

    @property
    def push(self) -> int:
        """Bytes that would be sent to the registry."""
        return sum(layer.push for layer in self.layers)


def preview_environment(site: Site, plan: EnvironmentPlan, *, push: bool) -> Preview:
    """Return what `build-env`, or with `push` `build-env -- --push`, would do.

    With a fresh site, every layer is made. Asks the registry, and raises `RegistryError` where it
    can't tell what it has.
    """
    lacks = _Lacks(site, plan) if push and plan.repository is not None else None
    layers: list[LayerPreview] = []
    artifacts: dict[str, Artifact] = {}
    seen: set[str] = set()
    for image in plan.images:
        jobs = plan_jobs(image.recipe)
        forget_lost(site, [x.blob for j in jobs if (x := find_layer(site, j.key, j.title))])
        known, _ = find_layers(jobs, find_source(site, image).index, site, task=plan.name)
        for job in jobs:
            layer = known.get(job.key)
            if job.key in seen:
                continue  # of packages that are the same on several platforms
            seen.add(job.key)
            layers.append(_preview(site, image, job, layer, lacks))
            if layer is None:
                artifacts |= {artifact.sha256: artifact for artifact in job.artifacts}
    missing = [a for a in artifacts.values() if not _is_fetched(a, site.cache)]
    there = lacks.has_image() if lacks else all(find_image(site, i) for i in plan.images)
    return Preview(
        done=there and not site.fresh,
        layers=tuple(layers),
        packages=len(missing),
        fetch=sum(artifact.size for artifact in missing),
    )


class _Lacks:
    """Asks the registry what it has of an environment's images."""

    def __init__(self, site: Site, plan: EnvironmentPlan) -> None:
        self._site = site
        self._reference = parse_reference(plan.reference)
        self._registry = site.open_registry(self._reference.registry)

    def has_image(self) -> bool:
        reference = self._reference
        return self._registry.find_manifest(reference.repository, reference.target) is not None

    def has_blob(self, layer: Layer) -> bool:
        """Return whether the blob needn't be sent: it is there, or can be mounted."""
        digest = layer.blob.digest
        places = map(parse_reference, self._site.origins.find(digest))
        near = [p.repository for p in places if p.registry == self._reference.registry]
        return any(self._has(name, digest) for name in (*near, self._reference.repository))

    def _has(self, repository: str, digest: str) -> bool:
        try:
            return self._registry.has_blob(repository, digest)
        except RegistryError as error:
            if error.code == "registry.not-found":
                return False
            raise


def _preview(
    site: Site, image: ImagePlan, job: LayerJob, layer: Layer | None, lacks: _Lacks | None
) -> LayerPreview:
    if layer is None:
        action: Literal["here", "registry", "make"] = "make"
        size = job.size if job.kind in {"packages", "source"} else 0  # what comes of all is little
        push = size if lacks else 0
    else:
        blob = layer.blob
        action = "here" if site.store.has(blob.digest, blob.size) else "registry"
        size = blob.size
        push = size if lacks and not lacks.has_blob(layer) else 0
    return LayerPreview(
        platform=image.recipe.platform, title=job.title, action=action, size=size, push=push
    )


def _is_fetched(artifact: Artifact, cache: Cache) -> bool:
    return (cache.package(artifact.sha256, artifact.filename)).is_file()
