"""The image's configuration and manifest: pure functions of recipe, base and layers.

Formats: OCI image specification 1.1, `config.md` and `manifest.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from envbuild.identity.recipe import Format, Recipe
from envbuild.kit.canonical import canonical_json
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage, Wheel
from envbuild.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    find_oci_type,
)
from envbuild.spec.platforms import PLATFORMS

__all__ = [
    "BASE_LABEL",
    "DIFF_ID",
    "DIGEST_LABEL",
    "KEY",
    "LAYER_TYPES",
    "PLAIN_SIZE",
    "BaseParts",
    "Content",
    "Layer",
    "annotate_layer",
    "describe_layer",
    "render_config",
    "render_environment",
    "render_index",
    "render_manifest",
]

DIGEST_LABEL: Final = "envbuild.digest"
"""Label that holds the whole env digest; the tag has only its beginning."""

BASE_LABEL: Final = "envbuild.base"
"""Label that says of a base that it can't be made again bit for bit."""

KEY: Final = "envbuild.layer.key"
"""Annotation of a layer's descriptor: the layer's key."""
DIFF_ID: Final = "envbuild.layer.diff-id"
PLAIN_SIZE: Final = "envbuild.layer.plain-size"

LAYER_TYPES: Final[Mapping[Format, str]] = {
    Format(compression="gzip", media_types="oci"): OCI_LAYER_GZIP,
    Format(compression="zstd", media_types="oci"): OCI_LAYER_ZSTD,
    Format(compression="gzip", media_types="docker"): DOCKER_LAYER_GZIP,
}
"""Media type of a layer; Docker's own types have none for zstd."""

WORKDIR: Final = "/workspace"

_EPOCH: Final = "1970-01-01T00:00:00Z"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LISTED: Final = 6
"""Packages named in a layer's history line; of more, the rest is counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """One package in a layer: how many files it brings, and their plain size in bytes."""

    kind: str
    name: str
    version: str
    files: int
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A finished layer: its key and blob, the digest and size of its plain tar.

    `title` is its line in the history; `contents` are its packages, empty for the skeleton.
    """

    key: str
    blob: Descriptor
    diff_id: str
    plain_size: int
    title: str
    contents: tuple[Content, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseParts:
    """A base image's configuration and layers; empty for what is assembled from nothing."""

    config: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[Descriptor, ...] = ()


def describe_layer(artifacts: Sequence[Artifact]) -> str:
    """Return the history line of a layer, such as `wheel: numpy 2.4.1`."""
    kinds = {CondaPackage: "conda", Wheel: "wheel", DebianPackage: "debian"}
    names = [f"{a.name} {a.version}" for a in artifacts]
    kind = kinds[type(artifacts[0])]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{kind}: {', '.join(names[:_LISTED])}{more}"


def render_config(
    recipe: Recipe, digest: str, *, base: BaseParts, layers: Sequence[Layer]
) -> bytes:
    """Return the configuration's canonical JSON. `digest` is the env digest, for the label."""
    platform = PLATFORMS[recipe.platform]
    inherited = dict(base.config.get("config") or {})
    rootfs = base.config.get("rootfs") or {}
    return canonical_json(
        {
            "architecture": platform.architecture,
            "os": platform.os,
            "created": _EPOCH,
            "config": inherited
            | {
                "Env": render_environment(recipe, inherited.get("Env") or ()),
                "User": "65532:65532"
                if recipe.settings.user == "nonroot"
                else recipe.settings.user,
                "WorkingDir": WORKDIR,
                "Cmd": inherited.get("Cmd") or ["python"],
                "Labels": (inherited.get("Labels") or {})
                | dict(recipe.settings.labels)
                | ({BASE_LABEL: "dockerfile"} if recipe.base.kind == "dockerfile" else {})
                | {DIGEST_LABEL: digest},
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": [*(rootfs.get("diff_ids") or ()), *(layer.diff_id for layer in layers)],
            },
            "history": [
                *(base.config.get("history") or ()),
                *({"created": _EPOCH, "created_by": f"envbuild {x.title}"} for x in layers),
            ],
        }
    )


def render_environment(recipe: Recipe, inherited: Sequence[str]) -> list[str]:
    """Return the base's variables with the environment's `bin` first on PATH.

    A base that brings the whole environment has its variables right.
    """
    if not recipe.managed:
        return list(inherited) or [f"PATH={_PATH}", "LANG=C.UTF-8"]
    table = dict(item.split("=", 1) for item in inherited if "=" in item)
    own = f"{recipe.prefix}/bin"
    others = [folder for folder in table.get("PATH", _PATH).split(":") if folder != own]
    table["PATH"] = ":".join([own, *others])
    table.setdefault("LANG", "C.UTF-8")
    table["VIRTUAL_ENV" if recipe.interpreter else "CONDA_PREFIX"] = recipe.prefix
    return [f"{name}={value}" for name, value in table.items()]


def render_manifest(
    recipe: Recipe,
    digest: str,
    config: Descriptor,
    *,
    base: BaseParts,
    layers: Sequence[Layer],
) -> tuple[str, bytes]:
    """Return the manifest's media type and canonical JSON.

    `digest` is the env digest: as an annotation, it tells what an image is with one request.
    """
    docker = recipe.format.media_types == "docker"
    annotations = {"org.opencontainers.image.created": _EPOCH, DIGEST_LABEL: digest}
    if recipe.base.kind == "image":
        annotations["org.opencontainers.image.base.digest"] = recipe.base.digest
    if recipe.base.kind == "dockerfile":
        annotations[BASE_LABEL] = "dockerfile"
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    value = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {
            "mediaType": DOCKER_CONFIG if docker else OCI_CONFIG,
            "digest": config.digest,
            "size": config.size,
        },
        "layers": [
            *(_describe(layer, docker=docker) for layer in base.layers),
            *(
                _describe(layer.blob, docker=docker) | {"annotations": annotate_layer(layer)}
                for layer in layers
            ),
        ],
        "annotations": annotations,
    }
    return media_type, canonical_json(value)


def render_index(digest: str, children: Sequence[tuple[str, Descriptor]]) -> tuple[str, bytes]:
    """Return media type and canonical JSON of an index: manifests by platform (conda's name).

    `digest` names the whole (`identity.digest.digest_index`).
    """
    docker = children[0][1].media_type == DOCKER_MANIFEST
    media_type = DOCKER_INDEX if docker else OCI_INDEX
    manifests = []
    for subdir, child in sorted(children):
        platform = PLATFORMS[subdir]
        manifests.append(
            {
                "mediaType": child.media_type,
                "digest": child.digest,
                "size": child.size,
                "platform": {"os": platform.os, "architecture": platform.architecture},
            }
        )
    value = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": manifests,
        "annotations": {DIGEST_LABEL: digest},
    }
    return media_type, canonical_json(value)


def annotate_layer(layer: Layer) -> dict[str, str]:
    """Return a layer's annotations in a manifest: no more than what its seal proves."""
    return {KEY: layer.key, DIFF_ID: layer.diff_id, PLAIN_SIZE: str(layer.plain_size)}


def _describe(blob: Descriptor, *, docker: bool) -> dict[str, Any]:
    """Describe a blob by the manifest's kind of type: a gzip layer's bytes are the same in both."""
    media_type = find_oci_type(blob.media_type)
    if docker and media_type == OCI_LAYER_GZIP:
        media_type = DOCKER_LAYER_GZIP
    return {"mediaType": media_type, "digest": blob.digest, "size": blob.size}
