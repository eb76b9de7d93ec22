"""The recipe of one image: all that assembly may look at, and so all that its identity covers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from envbuild.lock.model import Artifact, Wheel

__all__ = ["Base", "Format", "ImageSettings", "Recipe", "Source"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """What the image stands on.

    `digest` is the manifest's for kind `image`, and for kind `dockerfile` the digest of all that
    its build is made from. `reference` says where to find the manifest; it is not part of the
    identity.
    """

    kind: Literal["debian", "dockerfile", "image", "scratch"]
    digest: str = ""
    reference: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """How the image is written down: its layers' compression, its manifest's media types."""

    compression: Literal["gzip", "zstd"] = "gzip"
    media_types: Literal["oci", "docker"] = "oci"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSettings:
    """The part of a spec that is baked into the image's configuration."""

    user: str
    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Files of the repository that the image has at `target`, a layer of their own.

    `digest` covers paths, contents, which of them are executable, and links. `size` is that of all
    of them in bytes; it follows from the digest, and is not part of the identity.
    """

    target: str
    digest: str
    size: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One image on one platform. Assembly is a pure function of this and the artifacts' bytes.

    `local` are wheels made of the repository's own source trees: the topmost layer of packages.
    `sources` are above it, the repository's files as they are. `prefix` is
    where the environment lives (`/opt/env`); `python_minor` names site-packages; `interpreter` is
    the Python that a virtual environment at `prefix` points to, empty where conda brings Python
    into the prefix itself. `bytecode` is the full version of the Python whose byte code the
    layers hold (`3.11.2`), empty for none: the version counts, since two versions may compile one
    source differently. `link_scripts` says what becomes of conda's link scripts. `managed` is
    False where the base brings the whole environment, and nothing of one is added.
    """

    platform: str
    base: Base
    artifacts: tuple[Artifact, ...]
    local: tuple[Wheel, ...] = ()
    sources: tuple[Source, ...] = ()
    prefix: str
    python_minor: str
    interpreter: str
    settings: ImageSettings
    format: Format = Format()
    bytecode: str = ""
    link_scripts: Literal["ignore", "refuse", "run"] = "refuse"
    managed: bool = True
