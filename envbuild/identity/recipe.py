"""The recipe of one image: all that assembly may look at, and so all that its identity covers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from envbuild.lock.model import Artifact

__all__ = ["Base", "ImageSettings", "Recipe"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """What the image stands on. `digest` is the manifest's, for kind `image` only.

    `reference` says where to find the manifest; it is not part of the identity.
    """

    kind: Literal["debian", "image", "scratch"]
    digest: str = ""
    reference: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSettings:
    """The part of a spec that is baked into the image's configuration."""

    user: str
    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One image on one platform. Assembly is a pure function of this and the artifacts' bytes.

    `prefix` is where the environment lives (`/opt/env`); `python_minor` names site-packages;
    `interpreter` is the Python that a virtual environment at `prefix` points to, empty where
    conda brings Python into the prefix itself.
    """

    platform: str
    base: Base
    artifacts: tuple[Artifact, ...]
    prefix: str
    python_minor: str
    interpreter: str
    settings: ImageSettings
