"""Brings whole images into a registry, sending only what it lacks, and finds out about others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from envbuild.kit.crew import run_crew
from envbuild.kit.progress import Progress, Silent
from envbuild.oci.descriptor import Descriptor, ImagePlatform
from envbuild.oci.reference import Reference
from envbuild.oci.registry import Registry
from envbuild.oci.select import check_platform, find_manifest, read_blobs, read_children
from envbuild.oci.store import Store
from envbuild.oci.upload import Session

__all__ = ["PushReport", "push_image", "resolve_digest", "resolve_image"]

_ASKING: Final = 8
"""Questions that are under way at once."""

_SENDING: Final = 4
"""Blobs that are under way at once."""

_MOUNTS: Final = 2
"""Most repositories that a blob is tried to be mounted from."""

_CHEAP: Final = 16 << 10
"""A blob of so many bytes is sent without asking whether it is there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PushReport:
    """What a push did; `blobs_mounted` came from another repository of the same registry.

    `sent` are the digests of the blobs that were sent.
    """

    blobs_sent: int = 0
    blobs_there: int = 0
    bytes_sent: int = 0
    blobs_mounted: int = 0
    sent: frozenset[str] = frozenset()


def push_image(
    store: Store,
    manifest: Descriptor,
    reference: Reference,
    registry: Registry,
    *,
    known: Mapping[str, Sequence[str]] | None = None,
    fetch: Callable[[Descriptor], None] | None = None,
    doubt: bool = False,
    progress: Progress | None = None,
    task: str = "",
) -> PushReport:
    """Make the registry have the image or index under `reference`; send only what it lacks.

    Manifests and configurations are in the store; a layer need not be. `known` says for a blob's
    digest in which repositories (`host/path`) it is known to be: one of the same registry is
    mounted from there, without a byte. Where that is refused, and for what only other registries
    have, `fetch` brings the blob into the store, and it is sent. `known` may be wrong: what it
    says is asked of the registry, never believed. That it has the image is taken for having all of
    it, unless in `doubt`: then it is asked for each blob. Nothing is named before all blobs are
    there. Raises `RegistryError`, and `ImageError` `store.damaged` or `store.missing`.
    """
    work = _Work(progress or Silent(), task or reference.repository)
    work.say(f"asking {registry.host}")
    blobs = _list_blobs(store, manifest)
    there = registry.find_manifest(reference.repository, reference.target)
    named = there is not None and there.digest == manifest.digest
    if named and not doubt:
        return PushReport(blobs_there=len(blobs))
    cheap = 0 if doubt else _CHEAP
    pushing = _Pushing(store, reference, registry, known or {}, fetch, work, cheap)
    # The biggest first, so that none of them is left alone at the end.
    ordered = sorted(blobs, key=lambda blob: blob.size, reverse=True)
    states = run_crew(pushing.ask, ordered, threads=_ASKING)
    lacking = [(b, state) for b, state in zip(ordered, states, strict=True) if _is_lacking(state)]
    work.begin("pushing", sum(blob.size for blob, _ in lacking))
    run_crew(pushing.send, lacking, threads=_SENDING)
    work.say(f"naming it at {registry.host}")
    _put_manifests(store, manifest, reference, registry)
    return PushReport(
        blobs_sent=len(lacking),
        blobs_there=states.count("there"),
        bytes_sent=sum(blob.size for blob, _ in lacking),
        blobs_mounted=states.count("mounted"),
        sent=frozenset(blob.digest for blob, _ in lacking),
    )


_State = Session | Literal["there", "mounted"] | None
"""What asking for a blob led to; None or an opened upload: it has to be sent."""


def _is_lacking(state: _State) -> bool:
    return state is None or isinstance(state, Session)


class _Pushing:
    """Brings blobs into one repository; for many threads."""

    def __init__(
        self,
        store: Store,
        reference: Reference,
        registry: Registry,
        known: Mapping[str, Sequence[str]],
        fetch: Callable[[Descriptor], None] | None,
        work: _Work,
        cheap: int,
    ) -> None:
        self._store = store
        self._target = reference
        self._registry = registry
        self._known = known
        self._fetch = fetch
        self._work = work
        self._cheap = cheap
        self._refusing: set[str] = set()

    def ask(self, blob: Descriptor, check: Callable[[], None]) -> _State:
        """Have the blob mounted, or look whether it is there, with as few questions as will do."""
        check()
        places = self._known.get(blob.digest, ())
        sources = [] if self._target.name in places else self._find_sources(places)
        for source in sources[:_MOUNTS]:
            state = self._registry.mount_blob(self._target.repository, blob, source)
            if state == "mounted":
                return state
            if isinstance(state, Session):
                return state if self._is_cheap(blob) or not self._has(blob) else "there"
            self._refusing.add(source)
        # To send a few bytes costs less than to ask first.
        return "there" if not self._is_cheap(blob) and self._has(blob) else None

    def send(self, task: tuple[Descriptor, _State], check: Callable[[], None]) -> None:
        """Send the blob, brought here first if need be."""
        blob, state = task

        def sent(size: int) -> None:
            check()
            self._work.add(size)

        check()
        if self._fetch is not None and not self._store.has(blob.digest, blob.size):
            self._fetch(blob)
        session = state if isinstance(state, Session) else None
        self._registry.push_blob(
            self._target.repository, blob, self._store, session=session, sent=sent
        )

    def _find_sources(self, places: Sequence[str]) -> list[str]:
        """Return the repositories of this registry among `places`, save those that refused."""
        prefix = f"{self._target.registry}/"
        names = [place.removeprefix(prefix) for place in places if place.startswith(prefix)]
        return [name for name in names if name not in self._refusing]

    def _is_cheap(self, blob: Descriptor) -> bool:
        return blob.size <= self._cheap and self._store.has(blob.digest, blob.size)

    def _has(self, blob: Descriptor) -> bool:
        return self._registry.has_blob(self._target.repository, blob.digest, actions="pull,push")


def resolve_image(
    registry: Registry, reference: Reference, store: Store, *, os: str, architecture: str
) -> Descriptor:
    """Bring the image for one platform into the store without its layers; return its manifest.

    Only manifest and configuration are fetched; see `Registry.fetch_blob` for a layer. A reference
    by digest that was resolved before is answered without the registry. Raises
    `RegistryError`, `registry.platform-missing` among them.
    """
    wanted = ImagePlatform(os=os, architecture=architecture)
    kept = _find_kept(store, reference, wanted)
    if kept is not None:
        return kept
    manifest, data, config = find_manifest(registry, reference, wanted)
    if config is None:
        config = registry.read_blob(reference.repository, read_blobs(data)[0].digest)
    store.add(config)
    store.add(data)
    store.name(f"{reference.name}@{manifest.digest}", manifest)
    return manifest


def resolve_digest(registry: Registry, reference: Reference, *, os: str, architecture: str) -> str:
    """Return the digest of the manifest that the reference means on one platform.

    Raises `RegistryError` `registry.not-found`, `registry.platform-missing`.
    """
    wanted = ImagePlatform(os=os, architecture=architecture)
    return find_manifest(registry, reference, wanted)[0].digest


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


def _list_blobs(store: Store, manifest: Descriptor) -> list[Descriptor]:
    """Return every blob below a manifest or an index."""
    data = store.read(manifest.digest)
    if not manifest.is_index:
        return read_blobs(data)
    blobs = [blob for child in read_children(data) for blob in _list_blobs(store, child)]
    return list({blob.digest: blob for blob in blobs}.values())


def _put_manifests(
    store: Store, manifest: Descriptor, reference: Reference, registry: Registry
) -> None:
    """Put what an index names before the index, and the name last."""
    data = store.read(manifest.digest)

    def put(child: Descriptor, check: Callable[[], None]) -> None:
        check()
        by_digest = Reference(
            registry=reference.registry, repository=reference.repository, digest=child.digest
        )
        _put_manifests(store, child, by_digest, registry)

    if manifest.is_index:
        run_crew(put, read_children(data), threads=_SENDING)
    registry.push_manifest(reference.repository, reference.target, manifest.media_type, data)


def _find_kept(store: Store, reference: Reference, wanted: ImagePlatform) -> Descriptor | None:
    """Return the image of a reference by digest if it was resolved before."""
    if reference.digest is None:
        return None
    found = store.find(f"{reference.name}@{reference.digest}")
    if found is None or not store.has(found.digest, found.size):
        return None
    config = read_blobs(store.read(found.digest))[0]
    if not store.has(config.digest, config.size):
        return None
    check_platform(store.read(config.digest), wanted, reference)
    return found
