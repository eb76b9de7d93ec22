"""Bases that a Dockerfile builds: named by all that goes into them, built once for each name.

What a build downloads is its own affair, so such a base is not reproducible: another machine may
get other bytes under the same name. The image says so, by its label `envbuild.base`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from envbuild.engine.context import DockerBuild, digest_build
from envbuild.engine.export import ExportedImage, ExportedLayer
from envbuild.identity.recipe import Base
from envbuild.image.config import BaseParts
from envbuild.image.plain import PlainLayer, add_plain_layer
from envbuild.image.site import Site
from envbuild.kit.crew import run_crew
from envbuild.kit.files import exclusive, remove_abandoned, write_atomic
from envbuild.oci.descriptor import Descriptor
from envbuild.spec.model import Image
from envbuild.spec.platforms import PLATFORMS

__all__ = ["ensure_dockerfile_base", "plan_build", "plan_dockerfile_base"]

OnLine = Callable[[str], object]


def plan_build(image: Image, *, root: Path) -> DockerBuild:
    """Return the build that `[image]` asks for; its paths begin at the repository's `root`."""
    text = image.dockerfile or ""
    if "\n" in text:
        context = root / image.context if image.context is not None else None
        file: Path | str = text
    else:
        file = root / text
        context = file.parent if image.context is None else root / image.context
    return DockerBuild(
        dockerfile=file,
        context=context,
        args=dict(image.build_args),
        secrets=dict(image.build_secrets),
        target=image.build_target,
    )


def plan_dockerfile_base(image: Image, *, root: Path, platform: str) -> Base:
    """Return a recipe's base on `platform` (conda's name); reads the Dockerfile and its context.

    Raises `EngineError` as `engine.context.digest_build` does.
    """
    build = plan_build(image, root=root)
    return Base(kind="dockerfile", digest=digest_build(build, platform=PLATFORMS[platform].oci))


def ensure_dockerfile_base(
    site: Site,
    image: Image,
    base: Base,
    *,
    root: Path,
    platform: str,
    task: str,
    on_line: OnLine | None = None,
) -> tuple[BaseParts, bool]:
    """Return the parts of the base that `plan_dockerfile_base` named, and whether it was built.

    `on_line` gets each line that the build says. With `site.fresh` it is built anew, with
    everything that its `FROM` and its steps download. Raises as `engine.build.build_base` and
    `engine.client.connect_engine` do.
    """
    note = site.cache.root / "bases" / f"{base.digest.removeprefix('sha256:')}.json"
    found = None if site.fresh else _recall(site, note)
    if found is not None:
        return found, False

    def say() -> None:
        site.progress.update(task, "waiting for another build of the same Dockerfile")

    with exclusive(note.with_suffix(".lock"), waiting=say):
        found = None if site.fresh else _recall(site, note)
        if found is not None:
            return found, False
        facts = _build(site, image, root, platform, task, on_line)
        write_atomic(note, json.dumps(facts))
        return _read_facts(facts), True


def _build(
    site: Site, image: Image, root: Path, platform: str, task: str, on_line: OnLine | None
) -> dict[str, Any]:
    from envbuild.engine.build import build_base
    from envbuild.engine.client import connect_engine

    def hear(line: str) -> None:
        site.progress.update(task, f"building the Dockerfile: {line.strip()[:60]}")
        if on_line is not None:
            on_line(line)

    site.progress.update(task, "building the Dockerfile")
    remove_abandoned(site.cache.root / "bases", ".build.*.part")
    with (
        connect_engine() as engine,
        build_base(
            engine,
            plan_build(image, root=root),
            platform=PLATFORMS[platform].oci,
            work=site.cache.root / "bases",
            logs=site.cache.logs,
            on_line=hear,
            fresh=site.fresh,
        ) as built,
    ):
        return _keep(site, built.image, task)


def _keep(site: Site, image: ExportedImage, task: str) -> dict[str, Any]:
    """Put the image's layers into the store; return what is to be known of it."""
    packed: list[str] = []

    def pack(layer: ExportedLayer, check: Callable[[], None]) -> PlainLayer:
        plain = _pack(site, layer, check)
        packed.append(layer.diff_id)
        site.progress.update(task, "packing the base", len(packed), len(image.layers))
        return plain

    layers = run_crew(pack, list(image.layers), threads=os.cpu_count() or 1)
    config = {key: image.config.get(key) for key in ("config", "rootfs", "history")}
    return {"config": config, "layers": [_say(layer) for layer in layers]}


def _pack(site: Site, layer: ExportedLayer, check: Callable[[], None]) -> PlainLayer:
    """Return the layer in the store, packed unless it was so before, in whichever base."""
    note = site.cache.root / "bases" / "layers" / f"{layer.diff_id.removeprefix('sha256:')}.json"
    known = _recall_layer(note)
    if known is not None and site.store.has(known.blob.digest, known.blob.size):
        return known

    def checked() -> Any:
        for piece in layer.pieces():
            check()
            yield piece

    plain = add_plain_layer(site.store, checked())
    write_atomic(note, json.dumps(_say(plain)))
    return plain


def _recall_layer(note: Path) -> PlainLayer | None:
    try:
        facts = json.loads(note.read_bytes())
        return PlainLayer(
            blob=Descriptor.from_json(facts["blob"]),
            diff_id=str(facts["diff_id"]),
            plain_size=int(facts["plain_size"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _say(layer: PlainLayer) -> dict[str, Any]:
    return {
        "blob": layer.blob.to_json(),
        "diff_id": layer.diff_id,
        "plain_size": layer.plain_size,
    }


def _recall(site: Site, note: Path) -> BaseParts | None:
    """Return the base that was built before, if all of its layers are still to be had."""
    try:
        parts = _read_facts(json.loads(note.read_bytes()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    for blob in parts.layers:
        if not site.store.has(blob.digest, blob.size) and not site.origins.find(blob.digest):
            return None
    return parts


def _read_facts(facts: dict[str, Any]) -> BaseParts:
    return BaseParts(
        config=facts["config"],
        layers=tuple(Descriptor.from_json(layer["blob"]) for layer in facts["layers"]),
    )
