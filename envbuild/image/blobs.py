"""Brings blobs that only a registry has into the store, when their bytes are needed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable

from envbuild.errors import ImageError, RegistryError
from envbuild.image.site import Site
from envbuild.kit.crew import run_crew
from envbuild.oci.descriptor import Descriptor
from envbuild.oci.reference import parse_reference

__all__ = ["ensure_blobs", "ensure_whole", "forget_lost", "is_reachable", "list_blobs"]

_THREADS = 4


def list_blobs(site: Site, manifest: Descriptor) -> list[Descriptor]:
    """Return configuration and layers of a manifest in the store, each digest once."""
    value = json.loads(site.store.read(manifest.digest))
    entries = [value["config"], *value["layers"]]
    return list({d.digest: d for d in map(Descriptor.from_json, entries)}.values())


def is_reachable(site: Site, blob: Descriptor) -> bool:
    """Return whether the store has the blob, or a registry is known to."""
    return site.store.has(blob.digest, blob.size) or bool(site.origins.find(blob.digest))


def ensure_whole(site: Site, manifest: Descriptor, *, task: str) -> None:
    """Make the store have every blob of the image; raises as `ensure_blobs` does."""
    ensure_blobs(site, list_blobs(site, manifest), task=task)


def ensure_blobs(site: Site, blobs: Iterable[Descriptor], *, task: str) -> None:
    """Make the store have the blobs, from the registries that are known to have them.

    Raises `ImageError` `image.blob-gone` for one that none of them has any more; which others of
    `blobs` are gone is known then, too, so that one further build makes all of them.
    """
    missing = [blob for blob in blobs if not site.store.has(blob.digest, blob.size)]
    if not missing:
        return
    total, done = sum(blob.size for blob in missing), 0
    guard = threading.Lock()

    def fetch(blob: Descriptor, check: Callable[[], None]) -> None:
        def got(size: int) -> None:
            nonlocal done
            check()
            with guard:
                done += size
            site.progress.update(task, "fetching layers", done, total)

        _fetch_blob(site, blob, got)

    try:
        run_crew(fetch, sorted(missing, key=lambda b: b.size, reverse=True), threads=_THREADS)
    except ImageError as error:
        if error.code == "image.blob-gone":
            forget_lost(site, missing)
        raise


def forget_lost(site: Site, blobs: Iterable[Descriptor]) -> None:
    """Ask for each blob that isn't in the store who still has it, and forget who hasn't.

    A registry that can't tell is believed to have it.
    """

    def ask(blob: Descriptor, check: Callable[[], None]) -> None:
        for name in site.origins.find(blob.digest):
            check()
            if not _may_have(site, blob.digest, name):
                site.origins.forget(blob.digest, name)

    missing = [blob for blob in blobs if not site.store.has(blob.digest, blob.size)]
    run_crew(ask, missing, threads=_THREADS)


def _may_have(site: Site, digest: str, name: str) -> bool:
    reference = parse_reference(name)
    try:
        registry = site.open_registry(reference.registry)
        return registry.has_blob(reference.repository, digest)
    except RegistryError as error:
        return error.code != "registry.not-found"


def _fetch_blob(site: Site, blob: Descriptor, got: Callable[[int], None]) -> None:
    failure: RegistryError | None = None
    for name in site.origins.find(blob.digest):
        reference = parse_reference(name)
        try:
            registry = site.open_registry(reference.registry)
            registry.fetch_blob(reference.repository, blob, site.store, got=got)
        except RegistryError as error:
            failure = error
            if error.code == "registry.not-found":
                site.origins.forget(blob.digest, name)
        else:
            return
    if failure is not None and failure.code != "registry.not-found":
        raise failure
    raise ImageError(
        "image.blob-gone",
        f"no registry has the layer `{blob.digest[:19]}` any more",
        hint="to make it anew, run the same command again",
    )
