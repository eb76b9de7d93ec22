"""The layer that conda packages' link scripts make, where the spec says that they are to run.

It lies on top of all packages, and its key is a digest of what is below it: the scripts are there.
So it is looked for before any engine is asked, on this machine and in the registry's index, and a
machine that can't run a foreign platform's scripts takes it from where another machine pushed it.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Final

from envbuild.engine.export import unpack_pieces
from envbuild.engine.outputs import PieceStream
from envbuild.engine.scripts import LinkScript, check_processor, run_link_scripts
from envbuild.image.blobs import ensure_blobs
from envbuild.image.config import Layer
from envbuild.image.plain import add_plain_layer
from envbuild.image.shelf import find_layer, remember_layer
from envbuild.image.site import Site
from envbuild.kit.canonical import CHUNK, digest_json
from envbuild.kit.files import write_atomic
from envbuild.oci.descriptor import Descriptor
from envbuild.spec.platforms import PLATFORMS

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["TITLE", "digest_below", "find_link_scripts", "make_link_layer", "order_packages"]

TITLE: Final = "conda's link scripts"
"""The layer's line in the image's history: it marks what did not come from an archive."""

_VERSION: Final = 1


def digest_below(diff_ids: Sequence[str], *, prefix: str) -> str:
    """Return the key of the layer of link scripts above layers with these diff IDs."""
    return digest_json({"envbuild-link": _VERSION, "below": list(diff_ids), "prefix": prefix})


@dataclass(slots=True)
class _Findings:
    """What the layers say: the packages' records by name, and whose scripts are there."""

    records: dict[str, Mapping[str, object]] = field(default_factory=dict)
    post: set[str] = field(default_factory=set)


def find_link_scripts(
    site: Site, layers: Sequence[Layer], *, prefix: str, task: str
) -> tuple[LinkScript, ...]:
    """Return the packages with a link script in `layers`, each after those that it depends on.

    The layers' blobs are fetched where only a registry has them, and read once. Raises `ImageError`
    `image.blob-gone`.
    """
    ensure_blobs(site, [layer.blob for layer in layers], task=task)
    found, root = _Findings(), PurePosixPath(prefix.lstrip("/"))
    for number, layer in enumerate(layers, start=1):
        site.progress.update(task, "looking for link scripts", number, len(layers))
        _search(site, layer, root, found)
    return tuple(
        _describe(found, name) for name in order_packages(found.records) if name in found.post
    )


def _search(site: Site, layer: Layer, root: PurePosixPath, found: _Findings) -> None:
    pieces = unpack_pieces(site.store.chunks(layer.blob.digest))
    with (
        io.BufferedReader(PieceStream(pieces), CHUNK) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        for member in tar:
            path = PurePosixPath(member.name)
            if path.parent == root / "conda-meta" and path.suffix == ".json":
                source = tar.extractfile(member)
                record = json.loads(source.read()) if source is not None else {}
                found.records[str(record.get("name"))] = record
            elif path.parent == root / "bin" and path.name.endswith("-post-link.sh"):
                found.post.add(path.name.removesuffix("-post-link.sh").removeprefix("."))


def order_packages(records: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return the names of all packages, each after those it depends on, else by the alphabet.

    `records` are conda's by name. A circle is cut where it is entered.
    """
    done: dict[str, None] = {}
    begun: set[str] = set()
    todo = sorted(records, reverse=True)
    while todo:
        name = todo[-1]
        if name in begun:
            done.setdefault(todo.pop(), None)
            continue
        begun.add(name)
        depends = records[name].get("depends")
        names = {str(text).split()[0] for text in depends} if isinstance(depends, list) else set()
        todo += sorted((n for n in names if n in records and n not in begun), reverse=True)
    return list(done)


def _describe(found: _Findings, name: str) -> LinkScript:
    record = found.records[name]
    number = record.get("build_number")
    return LinkScript(
        name=name,
        version=str(record.get("version")),
        build_number=number if isinstance(number, int) else 0,
    )


def make_link_layer(
    site: Site,
    manifest: Descriptor,
    layers: Sequence[Layer],
    *,
    key: str,
    prefix: str,
    platform: str,
    task: str,
    on_line: Callable[[str], object] | None = None,
) -> Layer | None:
    """Run the link scripts in the image `manifest` and return what they changed as a layer.

    `layers` are envbuild's own of that image, whose packages' scripts are looked for; `key` is
    `digest_below` of all its diff IDs. None where there is no script: that is kept, too. A layer
    that was made before is returned as it is, without an engine. `platform` is conda's name for the
    image's. Raises as `check_processor`, `run_link_scripts` and `engine.client.connect_engine` do.
    """
    known = None if site.fresh else find_layer(site, key, TITLE)
    note = site.cache.root / "link-scripts" / f"{key.removeprefix('sha256:')}.none"
    if known is not None or (note.exists() and not site.fresh):
        return known
    scripts = find_link_scripts(site, layers, prefix=prefix, task=task)
    if not scripts:
        write_atomic(note, b"")
        return None
    layer = _make(site, manifest, scripts, key, prefix, platform, task, on_line)
    remember_layer(site, layer)
    return layer


def _make(
    site: Site,
    manifest: Descriptor,
    scripts: tuple[LinkScript, ...],
    key: str,
    prefix: str,
    platform: str,
    task: str,
    on_line: Callable[[str], object] | None,
) -> Layer:
    from envbuild.engine.client import connect_engine
    from envbuild.engine.load import ensure_loaded
    from envbuild.image.blobs import ensure_whole

    work = site.cache.root / "link-scripts"
    work.mkdir(parents=True, exist_ok=True)
    name = f"envbuild-link:{key.removeprefix('sha256:')[:20]}"
    log = site.cache.logs / f"link-scripts-{key.removeprefix('sha256:')[:20]}.log"
    with connect_engine() as engine, tempfile.TemporaryFile(dir=work) as target:
        check_processor(engine, PLATFORMS[platform].architecture, scripts)
        ensure_whole(site, manifest, task=task)
        loaded = ensure_loaded(
            engine, layout=site.store.root, manifest_digest=manifest.digest, name=name,
            progress=site.progress, task=task,
        )  # fmt: skip
        try:
            site.progress.update(task, f"running the link scripts of {len(scripts)} packages")
            said = run_link_scripts(
                engine, loaded.image_id, scripts, target, prefix=prefix, log=log, on_line=on_line
            )
        finally:
            _forget_name(engine.client, name)
        if said:
            site.progress.note(f"{task}: link scripts say: {said}")
        return _keep(site, target, key)


def _forget_name(client: DockerClient, name: str) -> None:
    """Take the name away; the engine keeps the layers as long as the final image needs them."""
    from docker.errors import DockerException

    with contextlib.suppress(DockerException, OSError):
        client.api.remove_image(name, noprune=True)


def _keep(site: Site, target: IO[bytes], key: str) -> Layer:
    target.seek(0)
    plain = add_plain_layer(site.store, iter(lambda: target.read(CHUNK), b""), key=key)
    return Layer(
        key=key,
        blob=plain.blob,
        diff_id=plain.diff_id,
        plain_size=plain.plain_size,
        title=TITLE,
    )
