"""Looks a base image up in its registry, and reads what it offers without keeping its layers.

What was read is kept in the cache by the manifest's digest, for all environments on that base.
"""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

from envbuild.kit.files import exclusive, write_atomic
from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.lock.base_facts import find_facts
from envbuild.lock.base_tree import BaseTree
from envbuild.lock.model import BaseFacts, BaseImage
from envbuild.lock.tar_stream import TarStream
from envbuild.oci.descriptor import Descriptor
from envbuild.oci.reference import Reference, parse_reference
from envbuild.oci.registry import open_registry
from envbuild.oci.store import BlobWriter, Store
from envbuild.spec.platforms import Platform
from envbuild.spec.registries import find_registry_options
from envbuild.spec.settings import Settings

if TYPE_CHECKING:
    from envbuild.oci.registry import Registry

__all__ = ["find_base_digest", "read_base", "read_layers"]

_FORM: Final = 1
"""Raised with every change of what is kept; what was kept in another form is read again."""


def find_base_digest(
    reference: str, *, platform: Platform, settings: Settings, progress: Progress, task: str
) -> str:
    """Return the digest of the manifest that `reference` means on `platform` now.

    Raises `RegistryError`, `registry.platform-missing` where there is none for the platform.
    """
    from envbuild.oci.transfer import resolve_digest

    progress.update(task, f"looking up `{reference}`")
    parsed = parse_reference(reference)
    return resolve_digest(
        _open(parsed, settings), parsed, os=platform.os, architecture=platform.architecture
    )


def read_base(
    reference: str,
    digest: str,
    *,
    interpreter: str | None,
    settings: Settings,
    cache: Cache,
    progress: Progress,
    task: str,
    check: Callable[[], None],
) -> BaseImage:
    """Return the base image with what it offers; `check` raises where the work is to end.

    Raises `RegistryError` where the registry no longer has it, and `ImageError` `base.damaged`.
    """
    facts = _find_kept(digest, interpreter, cache)
    if facts is None:
        # By digest: two environments on one base would read it twice.
        lock = cache.root / "bases" / f"{digest.removeprefix('sha256:')}.lock"
        with exclusive(lock):
            facts = _find_kept(digest, interpreter, cache)
            if facts is None:
                tree, config = _download(
                    reference, digest, settings=settings, progress=progress, task=task, check=check
                )
                _keep(digest, tree, config, cache)
                facts = find_facts(tree, config, interpreter=interpreter)
    return BaseImage(reference=reference, digest=digest, facts=facts)


def read_layers(layers: Iterable[Iterable[bytes]]) -> BaseTree:
    """Return the file system that layers (each its bytes in pieces, the lowest first) make up."""
    tree = BaseTree()
    for layer in layers:
        stream = TarStream(tree.wants, tree.add)
        for piece in layer:
            stream.write(piece)
        stream.finish()
        tree.end_layer()
    return tree


def _open(reference: Reference, settings: Settings) -> Registry:
    options = find_registry_options(settings, reference.registry)
    return open_registry(reference.registry, options=options)


def _file(digest: str, cache: Cache) -> Path:
    return cache.root / "bases" / f"{digest.removeprefix('sha256:')}.json.gz"


def _find_kept(digest: str, interpreter: str | None, cache: Cache) -> BaseFacts | None:
    try:
        kept: dict[str, Any] = json.loads(gzip.decompress(_file(digest, cache).read_bytes()))
        if kept["form"] != _FORM:
            return None
        tree = BaseTree.thaw(kept["tree"])
        return find_facts(tree, {"config": {"Env": kept["env"]}}, interpreter=interpreter)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None  # a help only: what can't be read is read from the registry


def _keep(digest: str, tree: BaseTree, config: Mapping[str, Any], cache: Cache) -> None:
    env = (config.get("config") or {}).get("Env") or []
    kept = {"form": _FORM, "env": env, "tree": tree.freeze()}
    data = gzip.compress(json.dumps(kept, separators=(",", ":")).encode(), 6)
    with contextlib.suppress(OSError):
        write_atomic(_file(digest, cache), data)


def _download(
    reference: str,
    digest: str,
    *,
    settings: Settings,
    progress: Progress,
    task: str,
    check: Callable[[], None],
) -> tuple[BaseTree, Mapping[str, Any]]:
    """Read all layers, the lowest first, as they come."""
    parsed = parse_reference(reference)
    registry = _open(parsed, settings)
    _, data = registry.read_manifest(parsed.repository, digest)
    manifest: dict[str, Any] = json.loads(data)
    config = json.loads(registry.read_blob(parsed.repository, manifest["config"]["digest"]))
    blobs = [Descriptor.from_json(layer) for layer in manifest["layers"]]
    total = sum(blob.size for blob in blobs)
    done = 0

    def got(size: int) -> None:
        nonlocal done
        check()
        done += size
        progress.update(task, f"reading what `{reference}` offers", done, total)

    tree = BaseTree()
    for blob in blobs:
        sieve = _Sieve(Path(), tree)
        registry.fetch_blob(parsed.repository, blob, sieve, got=got)
        tree = sieve.after[-1]
    return tree, config


@dataclass(frozen=True, slots=True)
class _Sieve(Store):
    """A store that keeps nothing of a blob but the tree that it makes of the one before.

    A download that breaks off is begun anew with another writer, and so with another tree.
    """

    before: BaseTree
    after: list[BaseTree] = field(default_factory=list)

    def has(self, digest: str, size: int | None = None) -> bool:  # noqa: ARG002 - as the store's
        return False

    @contextlib.contextmanager
    def writer(self, *, expect: str | None = None) -> Iterator[BlobWriter]:  # noqa: ARG002 - as well
        tree = self.before.copy()
        stream = TarStream(tree.wants, tree.add)
        yield BlobWriter(cast("IO[bytes]", stream), self.root)
        stream.finish()
        tree.end_layer()
        self.after.append(tree)
