"""The image's configuration and manifest: pure functions of recipe, base and layers.

Formats: OCI image specification 1.1, `config.md` and `manifest.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from envbuild.identity.recipe import Recipe
from envbuild.kit.canonical import canonical_json
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage, Wheel
from envbuild.oci.descriptor import (
    DOCKER_LAYER_GZIP,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
)
from envbuild.spec.platforms import PLATFORMS

__all__ = [
    "DIGEST_LABEL",
    "BaseParts",
    "Layer",
    "describe_layer",
    "render_config",
    "render_manifest",
]

DIGEST_LABEL: Final = "envbuild.digest"
"""Label that holds the whole env digest; the tag has only its beginning."""

WORKDIR: Final = "/workspace"

_EPOCH: Final = "1970-01-01T00:00:00Z"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LISTED: Final = 6
"""Packages named in a layer's history line; of more, the rest is counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A finished layer: its blob, the digest of its plain tar, and a line for the history."""

    blob: Descriptor
    diff_id: str
    plain_size: int
    title: str


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
                "Env": _environment(recipe, inherited.get("Env") or ()),
                "User": "65532:65532"
                if recipe.settings.user == "nonroot"
                else recipe.settings.user,
                "WorkingDir": WORKDIR,
                "Cmd": inherited.get("Cmd") or ["python"],
                "Labels": (inherited.get("Labels") or {})
                | dict(recipe.settings.labels)
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


def _environment(recipe: Recipe, inherited: Sequence[str]) -> list[str]:
    """Return the base's variables with the environment's `bin` first on PATH."""
    table = dict(item.split("=", 1) for item in inherited if "=" in item)
    table["PATH"] = f"{recipe.prefix}/bin:{table.get('PATH', _PATH)}"
    table.setdefault("LANG", "C.UTF-8")
    table["VIRTUAL_ENV" if recipe.interpreter else "CONDA_PREFIX"] = recipe.prefix
    return [f"{name}={value}" for name, value in table.items()]


def render_manifest(
    recipe: Recipe, config: Descriptor, *, base: BaseParts, layers: Sequence[Layer]
) -> bytes:
    """Return the manifest's canonical JSON."""
    blobs = [*(_as_oci(layer) for layer in base.layers), *(layer.blob for layer in layers)]
    annotations = {"org.opencontainers.image.created": _EPOCH}
    if recipe.base.kind == "image":
        annotations["org.opencontainers.image.base.digest"] = recipe.base.digest
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": config.digest, "size": config.size},
            "layers": [
                {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}
                for blob in blobs
            ],
            "annotations": annotations,
        }
    )


def _as_oci(layer: Descriptor) -> Descriptor:
    """Give a base's layer its OCI media type: Docker's gzip layers are the same bytes."""
    if layer.media_type != DOCKER_LAYER_GZIP:
        return layer
    return Descriptor(media_type=OCI_LAYER_GZIP, digest=layer.digest, size=layer.size)
