"""Assembles an image in the store: a pure function of the recipe and the artifacts' bytes.

Layers are made side by side and kept in the layer index by their key, so what was made once,
for whichever environment, is not made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from envbuild.errors import LockError
from envbuild.identity.recipe import Recipe
from envbuild.image.config import (
    BaseParts,
    Layer,
    describe_layer,
    render_config,
    render_manifest,
)
from envbuild.kit.crew import run_crew
from envbuild.kit.files import write_atomic
from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.layers.conda import read_conda, read_history
from envbuild.layers.deb import read_deb
from envbuild.layers.entry import Entry
from envbuild.layers.order import plan_entries
from envbuild.layers.pack import LayerPlan, has_conda, plan_layers, skeleton_key
from envbuild.layers.skeleton import read_skeleton
from envbuild.layers.wheel import read_wheel
from envbuild.layers.write import write_layer
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage
from envbuild.oci.descriptor import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor
from envbuild.oci.store import Store

__all__ = ["Fetch", "assemble_image", "read_artifact"]

Fetch = Callable[[tuple[Artifact, ...]], Mapping[str, Path]]
"""Gives the local file of each artifact, by SHA-256."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Todo:
    """A layer to make or to find: its key, its history line, and its artifacts (none: skeleton)."""

    key: str
    title: str
    artifacts: tuple[Artifact, ...]


def assemble_image(
    recipe: Recipe,
    digest: str,
    *,
    base: BaseParts,
    fetch: Fetch,
    store: Store,
    cache: Cache,
    progress: Progress,
    task: str,
) -> Descriptor:
    """Put the image of `recipe` into the store and return its manifest's descriptor.

    `fetch` is asked only for the artifacts of layers that nobody made before. Raises `ImageError`
    for a package that can't be unpacked, `LockError` for one that can't be fetched.
    """
    todo = [_plan_skeleton(recipe), *(_plan(plan) for plan in plan_layers(recipe))]
    known = {item.key: _find_layer(item, cache, store) for item in todo}
    missing = [item for item in todo if known[item.key] is None]
    if missing:
        files = fetch(tuple(a for item in missing for a in item.artifacts))
        _check_sizes(missing, files)
        made = _make_layers(recipe, missing, files, store, cache, progress, task)
        known |= made
    layers = [layer for item in todo if (layer := known[item.key]) is not None]
    config = render_config(recipe, digest, base=base, layers=layers)
    config_digest, config_size = store.add(config)
    manifest = render_manifest(
        recipe,
        Descriptor(media_type=OCI_CONFIG, digest=config_digest, size=config_size),
        base=base,
        layers=layers,
    )
    manifest_digest, manifest_size = store.add(manifest)
    return Descriptor(media_type=OCI_MANIFEST, digest=manifest_digest, size=manifest_size)


def _check_sizes(missing: Sequence[_Todo], files: Mapping[str, Path]) -> None:
    """Refuse a lock with false sizes: they decide which packages share a layer."""
    for artifact in (a for item in missing for a in item.artifacts):
        if isinstance(artifact, CondaPackage):
            continue
        found = files[artifact.sha256].stat().st_size
        if found != artifact.size:
            raise LockError(
                "lock.edited",
                f"the lock says that `{artifact.filename}` has {artifact.size} bytes, "
                f"but it has {found}",
                hint="to make the lock anew, run `nox -s lock -- NAME --upgrade`",
            )


def _plan_skeleton(recipe: Recipe) -> _Todo:
    return _Todo(key=skeleton_key(recipe), title="skeleton", artifacts=())


def _plan(plan: LayerPlan) -> _Todo:
    return _Todo(key=plan.key, title=describe_layer(plan.artifacts), artifacts=plan.artifacts)


def _index_file(key: str, cache: Cache) -> Path:
    return cache.layers / f"{key.removeprefix('sha256:')}.json"


def _find_layer(item: _Todo, cache: Cache, store: Store) -> Layer | None:
    """Return the layer that was made before under this key, if its blob is still there."""
    try:
        facts = json.loads(_index_file(item.key, cache).read_bytes())
        blob = Descriptor(
            media_type=OCI_LAYER_GZIP, digest=str(facts["digest"]), size=int(facts["size"])
        )
        diff_id, plain_size = str(facts["diff_id"]), int(facts["plain_size"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    if not store.has(blob.digest) or store.path(blob.digest).stat().st_size != blob.size:
        return None
    return Layer(blob=blob, diff_id=diff_id, plain_size=plain_size, title=item.title)


def _make_layers(
    recipe: Recipe,
    missing: Sequence[_Todo],
    files: Mapping[str, Path],
    store: Store,
    cache: Cache,
    progress: Progress,
    task: str,
) -> dict[str, Layer]:
    """Make the layers side by side, the biggest first so that none is left alone at the end."""

    def size(item: _Todo) -> int:
        return sum(files[a.sha256].stat().st_size for a in item.artifacts)

    ordered = sorted(missing, key=size, reverse=True)
    done: list[str] = []
    progress.update(task, "assembling layers", 0, len(ordered))

    def make(item: _Todo, check: Callable[[], None]) -> Layer:
        layer = _make_layer(recipe, item, files, store, check)
        _remember(item, layer, cache)
        done.append(item.key)
        progress.update(task, "assembling layers", len(done), len(ordered))
        return layer

    layers = run_crew(make, ordered, threads=os.cpu_count() or 1)
    return {item.key: layer for item, layer in zip(ordered, layers, strict=True)}


def read_artifact(
    artifact: Artifact, file: Path, *, prefix: str, python_minor: str
) -> tuple[Entry, ...]:
    """Return the entries of one artifact at `prefix`."""
    if isinstance(artifact, DebianPackage):
        return read_deb(file, artifact)
    if isinstance(artifact, CondaPackage):
        return read_conda(file, artifact, prefix=prefix, python_minor=python_minor)
    return read_wheel(file, artifact, prefix=prefix, python_minor=python_minor)


def _make_layer(
    recipe: Recipe,
    item: _Todo,
    files: Mapping[str, Path],
    store: Store,
    check: Callable[[], None],
) -> Layer:
    """Write one layer into the store; `check` raises where the work is to end."""
    groups: list[tuple[Entry, ...]] = [
        read_artifact(a, files[a.sha256], prefix=recipe.prefix, python_minor=recipe.python_minor)
        for a in item.artifacts
    ]
    entries = plan_entries(groups or _read_frame(recipe))
    with store.writer() as blob:

        def write(data: bytes) -> None:
            check()
            blob.write(data)

        facts = write_layer(entries, write, compression="gzip")
    return Layer(
        blob=Descriptor(media_type=OCI_LAYER_GZIP, digest=blob.digest, size=blob.size),
        diff_id=facts.diff_id,
        plain_size=facts.plain_size,
        title=item.title,
    )


def _read_frame(recipe: Recipe) -> list[tuple[Entry, ...]]:
    """Return what no package brings."""
    history = [read_history(recipe.prefix)] if has_conda(recipe) else []
    return [read_skeleton(recipe), *history]


def _remember(item: _Todo, layer: Layer, cache: Cache) -> None:
    facts = {
        "digest": layer.blob.digest,
        "size": layer.blob.size,
        "diff_id": layer.diff_id,
        "plain_size": layer.plain_size,
    }
    write_atomic(_index_file(item.key, cache), json.dumps(facts))
