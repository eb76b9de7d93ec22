"""Moves whole images between the store and a registry: only what is missing, the manifest last."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from envbuild.errors import EnvbuildError, RegistryError
from envbuild.kit.crew import run_crew
from envbuild.kit.progress import Progress, Silent
from envbuild.oci.descriptor import Descriptor, ImagePlatform
from envbuild.oci.reference import Reference, parse_reference
from envbuild.oci.registry import Registry
from envbuild.oci.store import Store

__all__ = ["PushReport", "pull_image", "push_image", "resolve_digest"]

_THREADS: Final = 4

_PLAIN_VARIANTS: Final = {"arm64": ("", "v8"), "amd64": ("", "v1"), "arm": ("v7", "", "v6")}
"""Variants of an architecture that any machine of it runs, the best first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PushReport:
    """What a push did; `blobs_mounted` came from another repository of the same registry."""

    blobs_sent: int = 0
    blobs_there: int = 0
    bytes_sent: int = 0
    blobs_mounted: int = 0


def push_image(
    store: Store,
    manifest: Descriptor,
    reference: Reference,
    registry: Registry,
    *,
    progress: Progress | None = None,
    task: str = "",
) -> PushReport:
    """Make the registry have the image under `reference`; send only what it lacks.

    Nothing is named before all blobs are there. A blob that another image of the store has in
    another repository of this registry is mounted from there instead of sent. Raises
    `RegistryError`, and `ImageError` `store.damaged` or `store.missing`.
    """
    work = _Work(progress or Silent(), task or reference.repository)
    work.say(f"asking {registry.host}")
    blobs = _list_blobs(store, manifest)
    known = registry.find_manifest(reference.repository, reference.target)
    if known is not None and known.digest == manifest.digest:
        return PushReport(blobs_there=len(blobs))
    missing = _find_missing(registry, reference.repository, blobs)
    sources = _find_sources(store, reference) if missing else {}
    work.begin("pushing", sum(blob.size for blob in missing))

    def send(blob: Descriptor, check: Callable[[], None]) -> Literal["mounted", "sent"]:
        def sent(size: int) -> None:
            check()
            work.add(size)

        source = sources.get(blob.digest)
        how = registry.push_blob(reference.repository, blob, store, mount_from=source, sent=sent)
        if how == "mounted":
            work.add(blob.size)
        return how

    # The biggest first, so that none of them is left alone at the end.
    ordered = sorted(missing, key=lambda blob: blob.size, reverse=True)
    results = run_crew(send, ordered, threads=_THREADS)
    work.say(f"naming it at {registry.host}")
    _put_manifests(store, manifest, reference, registry)
    sizes = [b.size for b, how in zip(ordered, results, strict=True) if how == "sent"]
    return PushReport(
        blobs_sent=len(sizes),
        blobs_there=len(blobs) - len(missing),
        bytes_sent=sum(sizes),
        blobs_mounted=len(missing) - len(sizes),
    )


def pull_image(
    registry: Registry,
    reference: Reference,
    store: Store,
    *,
    os: str,
    architecture: str,
    progress: Progress | None = None,
    task: str = "",
) -> Descriptor:
    """Bring the image for one platform into the store, whole, and return its manifest.

    A reference by digest whose image is in the store already is answered without the registry.
    Raises `RegistryError`, `registry.platform-missing` among them.
    """
    work = _Work(progress or Silent(), task or reference.repository)
    wanted = ImagePlatform(os=os, architecture=architecture)
    kept = _find_kept(store, reference, wanted)
    if kept is not None:
        return kept
    work.say(f"asking {registry.host}")
    manifest, data = _resolve(registry, reference, wanted, store)
    store.add(data)
    blobs = [b for b in _read_blobs(data) if not store.has(b.digest, b.size)]
    work.begin("pulling", sum(blob.size for blob in blobs))

    def fetch(blob: Descriptor, check: Callable[[], None]) -> None:
        def got(size: int) -> None:
            check()
            work.add(size)

        registry.fetch_blob(reference.repository, blob, store, got=got)

    run_crew(fetch, sorted(blobs, key=lambda b: b.size, reverse=True), threads=_THREADS)
    # By digest, so that the next pull finds it, and a push knows where its blobs may be mounted.
    store.name(f"{reference.name}@{manifest.digest}", manifest)
    return manifest


def resolve_digest(registry: Registry, reference: Reference, *, os: str, architecture: str) -> str:
    """Return the digest of the manifest that the reference means on one platform.

    Raises `RegistryError` `registry.not-found`, `registry.platform-missing`.
    """
    wanted = ImagePlatform(os=os, architecture=architecture)
    return _resolve(registry, reference, wanted, None)[0].digest


class _Work:
    """Counts the bytes of many threads and tells the progress."""

    def __init__(self, progress: Progress, task: str) -> None:
        self._progress = progress
        self._task = task
        self._guard = threading.Lock()
        self._doing = ""
        self._done = 0
        self._total = 0

    def say(self, doing: str) -> None:
        self._progress.update(self._task, doing)

    def begin(self, doing: str, total: int) -> None:
        self._doing, self._done, self._total = doing, 0, total
        self._progress.update(self._task, doing, 0, total)

    def add(self, size: int) -> None:
        with self._guard:
            self._done += size
            done = self._done
        self._progress.update(self._task, self._doing, done, self._total)


def _read_blobs(manifest: bytes) -> list[Descriptor]:
    """Return configuration and layers, each digest once."""
    value = _parse(manifest)
    entries = [value.get("config"), *value.get("layers", ())]
    return list({d.digest: d for d in map(Descriptor.from_json, entries)}.values())


def _read_children(index: bytes) -> list[Descriptor]:
    return [Descriptor.from_json(entry) for entry in _parse(index).get("manifests", ())]


def _parse(manifest: bytes) -> Mapping[str, Any]:
    value: Any = json.loads(manifest)
    return value if isinstance(value, dict) else {}


def _list_blobs(store: Store, manifest: Descriptor) -> list[Descriptor]:
    """Return every blob below a manifest or an index."""
    data = store.read(manifest.digest)
    if not manifest.is_index:
        return _read_blobs(data)
    blobs = [blob for child in _read_children(data) for blob in _list_blobs(store, child)]
    return list({blob.digest: blob for blob in blobs}.values())


def _find_missing(
    registry: Registry, repository: str, blobs: Sequence[Descriptor]
) -> list[Descriptor]:
    def ask(blob: Descriptor, check: Callable[[], None]) -> bool:
        check()
        return registry.has_blob(repository, blob.digest)

    there = run_crew(ask, blobs, threads=_THREADS)
    return [blob for blob, known in zip(blobs, there, strict=True) if not known]


def _find_sources(store: Store, target: Reference) -> dict[str, str]:
    """Return blob digest -> repository of the same registry that may have it.

    It is only a guess from what this store has pulled or built before: a registry that doesn't
    find the blob there takes an upload instead.
    """
    sources: dict[str, str] = {}
    for name, manifest in store.names().items():
        try:
            known = parse_reference(name)
            if known.registry == target.registry and known.repository != target.repository:
                for blob in _list_blobs(store, manifest):
                    sources.setdefault(blob.digest, known.repository)
        except EnvbuildError:
            continue  # another tool's name, or an image that is no longer whole
    return sources


def _put_manifests(
    store: Store, manifest: Descriptor, reference: Reference, registry: Registry
) -> None:
    data = store.read(manifest.digest)
    if manifest.is_index:
        for child in _read_children(data):
            registry.push_manifest(
                reference.repository, child.digest, child.media_type, store.read(child.digest)
            )
    registry.push_manifest(reference.repository, reference.target, manifest.media_type, data)


def _find_kept(store: Store, reference: Reference, wanted: ImagePlatform) -> Descriptor | None:
    """Return the image of a reference by digest if all of it is in the store."""
    if reference.digest is None:
        return None
    found = store.find(f"{reference.name}@{reference.digest}")
    if found is None or not store.has(found.digest, found.size):
        return None
    blobs = _read_blobs(store.read(found.digest))
    if not all(store.has(blob.digest, blob.size) for blob in blobs):
        return None
    _check_platform(store.read(blobs[0].digest), wanted, reference)
    return found


def _resolve(
    registry: Registry, reference: Reference, wanted: ImagePlatform, store: Store | None
) -> tuple[Descriptor, bytes]:
    """Return the platform's manifest; a manifest without an index proves its platform itself."""
    found, data = registry.read_manifest(reference.repository, reference.target)
    if not found.is_index:
        config = Descriptor.from_json(_parse(data).get("config"))
        text = registry.read_blob(reference.repository, config.digest)
        _check_platform(text, wanted, reference)
        if store is not None:
            store.add(text)
        return found, data
    child = _choose(_read_children(data), wanted, reference)
    return registry.read_manifest(reference.repository, child.digest)


def _choose(
    children: Sequence[Descriptor], wanted: ImagePlatform, reference: Reference
) -> Descriptor:
    variants = _PLAIN_VARIANTS.get(wanted.architecture, ("",))
    for variant in variants:
        for child in children:
            if child.platform is not None and (
                child.platform.os,
                child.platform.architecture,
                child.platform.variant,
            ) == (wanted.os, wanted.architecture, variant):
                return child
    raise _platform_missing(reference, wanted, _list_platforms(children))


def _list_platforms(children: Sequence[Descriptor]) -> Iterator[str]:
    """Yield what there is; attestations have the platform `unknown`."""
    for child in children:
        if child.platform is not None and child.platform.os != "unknown":
            yield str(child.platform)


def _check_platform(config: bytes, wanted: ImagePlatform, reference: Reference) -> None:
    value = _parse(config)
    has = ImagePlatform(os=str(value.get("os")), architecture=str(value.get("architecture")))
    if has != wanted:
        raise _platform_missing(reference, wanted, iter([str(has)]))


def _platform_missing(
    reference: Reference, wanted: ImagePlatform, there: Iterator[str]
) -> RegistryError:
    offered = ", ".join(f"`{name}`" for name in there) or "none"
    return RegistryError(
        "registry.platform-missing",
        f"`{reference}` is not made for `{wanted}`; there is: {offered}",
        hint="choose a base image that is made for the platform, or take the platform out of "
        "`platforms`",
    )
