"""Assembles an image: a pure function of the recipe and the artifacts' bytes.

Each layer has a key, a digest of all that it depends on. So a layer is looked for before it is
made: in the machine's cache, then in the registry's layer index; only the artifacts of layers that
nobody has made are fetched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from envbuild.errors import LockError, RegistryError
from envbuild.identity.recipe import Recipe, Source
from envbuild.image.config import (
    BaseParts,
    Layer,
    describe_layer,
    render_config,
    render_manifest,
)
from envbuild.image.layer_index import LayerIndex
from envbuild.image.listing import check_overlaps
from envbuild.image.shelf import find_layer, remember_layer
from envbuild.image.site import Site
from envbuild.image.work import LayerJob
from envbuild.image.workers import make_layers
from envbuild.layers.pack import (
    LayerPlan,
    finish_key,
    is_compiled,
    plan_layers,
    skeleton_key,
    source_key,
)
from envbuild.layers.source import SourceTree
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage
from envbuild.oci.descriptor import OCI_CONFIG, Descriptor

__all__ = ["Assembled", "Fetch", "LayerSource", "assemble_image", "find_layers", "plan_jobs"]

Fetch = Callable[[tuple[Artifact, ...]], Mapping[str, Path]]
"""Gives the local file of each artifact, by SHA-256."""

FindCompiler = Callable[[], tuple[str, ...]]
"""Gives the command line of the Python that compiles byte code; asked only where one is needed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerSource:
    """What layers are made of: who fetches artifacts, the Python that compiles, and where the
    repository's files are."""

    fetch: Fetch
    find_compiler: FindCompiler
    index: LayerIndex | None = None
    trees: Mapping[Source, SourceTree] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembled:
    """An image in the store, and what it took.

    `layers` are envbuild's own, lowest first; `made` of them are new, `listed` came out of the
    registry's index. `seconds` is the time of each step, in order.
    """

    manifest: Descriptor
    layers: tuple[Layer, ...]
    made: int
    listed: int
    seconds: Mapping[str, float]


def assemble_image(
    recipe: Recipe, digest: str, *, base: BaseParts, source: LayerSource, site: Site, task: str
) -> Assembled:
    """Put the image of `recipe` into the store.

    Raises `ImageError` for a package that can't be unpacked, `LockError` for one that can't be
    fetched.
    """
    clock = _Clock()
    jobs = plan_jobs(recipe)
    known, listed = find_layers(jobs, source.index, site, task=task)
    clock.lap("looking for layers")
    missing = [job for job in jobs if job.key not in known]
    if missing:
        ready = _prepare(missing, source)
        clock.lap("fetching packages")
        known |= _make(ready, site, task)
        for line in check_overlaps(site.cache.listings, [job.key for job in jobs]):
            site.progress.note(f"{task}: {line}")
        clock.lap("making layers")
    layers = tuple(known[job.key] for job in jobs)
    if recipe.link_scripts == "run":
        layers = _add_linked(recipe, digest, jobs, layers, base, source, site, task)
        clock.lap("running link scripts")
    manifest = _write_manifest(recipe, digest, base=base, layers=layers, site=site)
    return Assembled(
        manifest=manifest, layers=layers, made=len(missing), listed=listed, seconds=clock.laps
    )


def _add_linked(
    recipe: Recipe,
    digest: str,
    jobs: Sequence[LayerJob],
    layers: tuple[Layer, ...],
    base: BaseParts,
    source: LayerSource,
    site: Site,
    task: str,
) -> tuple[Layer, ...]:
    """Return the layers with that of conda's link scripts above the conda packages' own.

    Below the wheels': a new version of one does not run the scripts again.
    """
    from envbuild.image.link_scripts import TITLE, digest_below, make_link_layer

    is_conda = [bool(j.artifacts) and isinstance(j.artifacts[0], CondaPackage) for j in jobs]
    if not any(is_conda):
        return layers
    end = len(jobs) - is_conda[::-1].index(True)
    below = layers[:end]
    rootfs = base.config.get("rootfs") or {}
    diff_ids = [*(rootfs.get("diff_ids") or ()), *(layer.diff_id for layer in below)]
    key = digest_below(diff_ids, prefix=recipe.prefix)
    wanted = LayerJob(key=key, title=TITLE, kind="packages", recipe=recipe)
    known, _ = find_layers([wanted], source.index, site, task=task)
    found = known.get(key)
    if found is None:
        manifest = _write_manifest(recipe, digest, base=base, layers=below, site=site)
        packages = [layer for layer, conda in zip(below, is_conda, strict=False) if conda]
        found = make_link_layer(
            site, manifest, packages, key=key, prefix=recipe.prefix, platform=recipe.platform,
            task=task,
        )  # fmt: skip
    return layers if found is None else (*below, found, *layers[end:])


def plan_jobs(recipe: Recipe) -> tuple[LayerJob, ...]:
    """Return every layer of the image above its base, lowest first; no files are given yet."""
    debian = tuple(a for a in recipe.artifacts if isinstance(a, DebianPackage))
    finish = LayerJob(
        key=finish_key(recipe), title="debian: what the packages make together", kind="finish",
        recipe=recipe, artifacts=debian,
    )  # fmt: skip
    plans = plan_layers(recipe)
    below = [plan for plan in plans if isinstance(plan.artifacts[0], DebianPackage)]
    above = plans[len(below) :]
    return (
        LayerJob(key=skeleton_key(recipe), title="skeleton", kind="skeleton", recipe=recipe),
        *(_plan_job(recipe, plan) for plan in below),
        *([finish] if debian else ()),
        *(_plan_job(recipe, plan) for plan in above),
        *(_plan_source(recipe, source) for source in recipe.sources),
    )


def _plan_source(recipe: Recipe, source: Source) -> LayerJob:
    return LayerJob(
        key=source_key(recipe, source), title=f"source: {source.target}", kind="source",
        recipe=recipe, source=source,
    )  # fmt: skip


def _plan_job(recipe: Recipe, plan: LayerPlan) -> LayerJob:
    part = f" (part {plan.part + 1} of {plan.parts})" if plan.parts > 1 else ""
    return LayerJob(
        key=plan.key, title=describe_layer(plan.artifacts) + part, kind="packages", recipe=recipe,
        artifacts=plan.artifacts, part=plan.part, parts=plan.parts,
    )  # fmt: skip


def find_layers(
    jobs: Sequence[LayerJob], index: LayerIndex | None, site: Site, *, task: str
) -> tuple[dict[str, Layer], int]:
    """Return the layers that were made before, by key, and how many the registry's index gave.

    An index that can't be asked is noted, and is no reason not to build.
    """
    usable = [job for job in jobs if not site.fresh or job.key in site.renewed]
    known = {job.key: layer for job in usable if (layer := find_layer(site, job.key, job.title))}
    if site.fresh:
        return known, 0
    wanted = [(job.key, job.title) for job in jobs if job.key not in known]
    if index is None or not wanted:
        return known, 0
    try:
        found = index.find(wanted, task=task)
    except RegistryError as error:
        site.progress.note(f"layers are not looked for in `{index.name}`: {error.message}")
        return known, 0
    for layer in found.values():
        remember_layer(site, layer)
    return known | found, len(found)


def _prepare(missing: Sequence[LayerJob], source: LayerSource) -> list[LayerJob]:
    """Return the jobs with all that they need on this machine."""
    artifacts = tuple(dict.fromkeys(a for job in missing for a in job.artifacts))
    files = source.fetch(artifacts)
    _check_sizes(artifacts, files)
    compiled = any(is_compiled(job.recipe, a) for job in missing for a in job.artifacts)
    compiler = source.find_compiler() if compiled else ()
    return [
        replace(
            job,
            files={a.sha256: files[a.sha256] for a in job.artifacts},
            compiler=compiler,
            tree=source.trees[job.source] if job.source else None,
        )
        for job in missing
    ]


def _check_sizes(artifacts: Sequence[Artifact], files: Mapping[str, Path]) -> None:
    """Refuse a lock with false sizes: they decide which packages share a layer."""
    for artifact in artifacts:
        found = files[artifact.sha256].stat().st_size
        if found != artifact.size:
            raise LockError(
                "lock.edited",
                f"the lock says that `{artifact.filename}` has {artifact.size} bytes, "
                f"but it has {found}",
                hint="to make the lock anew, run `nox -s lock -- NAME --upgrade`",
            )


def _make(jobs: Sequence[LayerJob], site: Site, task: str) -> dict[str, Layer]:
    made: dict[str, Layer] = {}
    guard = threading.Lock()
    site.progress.update(task, "making layers", 0, len(jobs))

    def done(job: LayerJob, layer: Layer, seconds: float) -> None:
        remember_layer(site, layer)
        site.say(f"{task}: made {job.title}: {layer.blob.size / 1e6:.1f} MB in {seconds:.2f} s")
        with guard:
            site.renewed.add(job.key)
            made[job.key] = layer
            site.progress.update(task, "making layers", len(made), len(jobs))

    make_layers(site, jobs, done=done)
    return made


def _write_manifest(
    recipe: Recipe, digest: str, *, base: BaseParts, layers: Sequence[Layer], site: Site
) -> Descriptor:
    config_digest, config_size = site.store.add(
        render_config(recipe, digest, base=base, layers=layers)
    )
    media_type, manifest = render_manifest(
        recipe,
        digest,
        Descriptor(media_type=OCI_CONFIG, digest=config_digest, size=config_size),
        base=base,
        layers=layers,
    )
    manifest_digest, manifest_size = site.store.add(manifest)
    return Descriptor(media_type=media_type, digest=manifest_digest, size=manifest_size)


class _Clock:
    """Takes the time of each step."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._start = time.monotonic()

    def lap(self, step: str) -> None:
        now = time.monotonic()
        self.laps[step] = now - self._start
        self._start = now
