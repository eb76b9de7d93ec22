"""Descriptors, which name a blob by digest, size and type, and the media types that are in use.

Format: OCI image specification 1.1, `descriptor.md` and `media-types.md`; Docker's own types are
those of "Image Manifest Version 2, Schema 2".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from envbuild.errors import RegistryError

__all__ = [
    "DOCKER_CONFIG",
    "DOCKER_INDEX",
    "DOCKER_LAYER",
    "DOCKER_LAYER_GZIP",
    "DOCKER_LAYER_ZSTD",
    "DOCKER_MANIFEST",
    "INDEX_TYPES",
    "MANIFEST_TYPES",
    "OCI_CONFIG",
    "OCI_EMPTY",
    "OCI_INDEX",
    "OCI_LAYER",
    "OCI_LAYER_GZIP",
    "OCI_LAYER_ZSTD",
    "OCI_MANIFEST",
    "Descriptor",
    "ImagePlatform",
    "check_digest",
    "find_oci_type",
]

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"

DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD: Final = "application/vnd.docker.image.rootfs.diff.tar.zstd"
"""Docker has no such type; BuildKit writes it nevertheless."""

INDEX_TYPES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})

_OCI_NAMES: Final = {
    DOCKER_INDEX: OCI_INDEX,
    DOCKER_MANIFEST: OCI_MANIFEST,
    DOCKER_CONFIG: OCI_CONFIG,
    DOCKER_LAYER: OCI_LAYER,
    DOCKER_LAYER_GZIP: OCI_LAYER_GZIP,
    DOCKER_LAYER_ZSTD: OCI_LAYER_ZSTD,
}
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def find_oci_type(media_type: str) -> str:
    """Return OCI's name for a type that Docker has its own name for; others come back as given.

    The bytes behind both names are the same format, so a layer may move between manifests.
    """
    return _OCI_NAMES.get(media_type, media_type)


def check_digest(digest: str) -> str:
    """Return `digest` if it is `sha256:` and 64 hex digits; else raise `digest.invalid`.

    Everything that becomes a path or a URL goes through here.
    """
    if _DIGEST.fullmatch(digest) is None:
        raise RegistryError(
            "digest.invalid",
            f"`{digest[:100]}` is not a digest: expected `sha256:` and 64 hex digits",
            hint="other algorithms than SHA-256 are not supported; copy the digest in full",
        )
    return digest


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePlatform:
    """The machine that an image is for, in OCI's words: `linux`, `arm64`, and maybe `v8`."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ImagePlatform:
        """Read the `platform` object of an index."""
        return cls(
            os=_text(value, "os"),
            architecture=_text(value, "architecture"),
            variant=str(value.get("variant", "")),
        )

    def to_json(self) -> dict[str, str]:
        """Return the `platform` object of an index."""
        value = {"architecture": self.architecture, "os": self.os}
        return {**value, "variant": self.variant} if self.variant else value


@dataclass(frozen=True, kw_only=True, slots=True)
class Descriptor:
    """A blob by its content: type, digest (`sha256:...`) and size in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    platform: ImagePlatform | None = None
    artifact_type: str = ""

    @property
    def is_index(self) -> bool:
        """True for a list of manifests, one per platform."""
        return self.media_type in INDEX_TYPES

    @classmethod
    def from_json(cls, value: object) -> Descriptor:
        """Read a descriptor; raises `RegistryError` `manifest.invalid` or `digest.invalid`."""
        if not isinstance(value, Mapping):
            raise _invalid(f"a descriptor is an object, not `{str(value)[:60]}`")
        size = value.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise _invalid(f"a descriptor's `size` is a number of bytes, not `{size!r}`")
        platform = value.get("platform")
        return cls(
            media_type=_text(value, "mediaType"),
            digest=check_digest(_text(value, "digest")),
            size=size,
            annotations=_texts(value.get("annotations")),
            platform=ImagePlatform.from_json(platform) if isinstance(platform, Mapping) else None,
            artifact_type=str(value.get("artifactType", "")),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor as JSON has it; empty fields are left out."""
        value: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.platform is not None:
            value["platform"] = self.platform.to_json()
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        return value


def _text(value: Mapping[str, Any], key: str) -> str:
    text = value.get(key)
    if not isinstance(text, str):
        raise _invalid(f"`{key}` of a descriptor is a text, not `{str(text)[:60]}`")
    return text


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {str(key): str(text) for key, text in value.items()}


def _invalid(what: str) -> RegistryError:
    return RegistryError(
        "manifest.invalid",
        f"a manifest is not what the OCI image specification says: {what}",
        hint="look at it with `skopeo inspect --raw docker://NAME`; it has to be pushed anew",
    )
