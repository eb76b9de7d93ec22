"""Golden vectors of the env digest: `python -m tests.identity.golden` writes them anew.

Each file has a recipe, the list of fields that it comes to, and their digest. A change of any of
them changes every tag in the world: it comes with another `IDENTITY_VERSION`.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from envbuild.identity.recipe import Base, Format, ImageSettings, Recipe, Source
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage, Wheel
from tests.rig.locks import conda, debian, wheel

__all__ = ["FOLDER", "PLAN", "RECIPES", "dump_recipe", "read_recipe"]

FOLDER = Path(__file__).parent

PLAN: dict[str, int | str] = {"alone": 12, "buckets": 8, "encoder": "libdeflate"}

_KINDS = {"conda": CondaPackage, "debian": DebianPackage, "wheel": Wheel}

RECIPES: dict[str, Recipe] = {
    "scratch": Recipe(
        platform="linux-64",
        base=Base(kind="scratch"),
        artifacts=(),
        prefix="/opt/env",
        python_minor="3.11",
        interpreter="",
        settings=ImageSettings(user="root", labels={}),
    ),
    "conda": Recipe(
        platform="linux-aarch64",
        base=Base(kind="scratch"),
        artifacts=(
            conda("numpy", "2.1.3", "py311h_0"),
            conda("python", "3.11.9", "hb_0_cpython"),
            wheel("httpx", "0.27.0"),
        ),
        prefix="/opt/env",
        python_minor="3.11",
        interpreter="",
        settings=ImageSettings(user="nonroot", labels={"team": "vision"}),
    ),
    "debian": Recipe(
        platform="linux-64",
        base=Base(kind="debian"),
        artifacts=(
            debian("libc6", "2.36-9+deb12u9"),
            debian("python3.11", "3.11.2-6+deb12u3"),
            wheel("numpy", "2.4.1"),
            wheel("scikit-learn", "1.6.0"),
        ),
        prefix="/opt/env",
        python_minor="3.11",
        interpreter="/usr/bin/python3.11",
        settings=ImageSettings(user="1000:1000", labels={}),
        bytecode="3.11.2",
        local=(wheel("acme", "0.1"),),
    ),
    "image": Recipe(
        platform="linux-64",
        base=Base(
            kind="image",
            digest="sha256:" + "b" * 64,
            reference="registry.example.com/python:3.12",
        ),
        artifacts=(wheel("rich", "14.0.0"),),
        prefix="/opt/env",
        python_minor="3.12",
        interpreter="/usr/local/bin/python3.12",
        settings=ImageSettings(
            user="root", labels={"org.opencontainers.image.title": 'Bähn "é"\n', "a": ""}
        ),
        format=Format(compression="zstd"),
    ),
    "sources": Recipe(
        platform="linux-64",
        base=Base(kind="scratch"),
        artifacts=(),
        sources=(
            Source(target="/etc/service.yaml", digest="sha256:" + "1" * 64, size=7),
            Source(target="/srv/models", digest="sha256:" + "2" * 64, size=8_000_000),
        ),
        prefix="/opt/env",
        python_minor="3.11",
        interpreter="",
        settings=ImageSettings(user="root", labels={}),
    ),
}


def _dump(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _dump_artifact(artifact: Artifact) -> dict[str, Any]:
    (kind,) = (name for name, type_ in _KINDS.items() if isinstance(artifact, type_))
    return {"kind": kind, **_dump(artifact)}


def dump_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as JSON's values; without `sources` where it has none, as it once was."""
    own = {key: value for key, value in _dump(recipe).items() if value or key != "sources"}
    if recipe.sources:
        own["sources"] = [_dump(source) for source in recipe.sources]
    return {
        **own,
        "base": _dump(recipe.base),
        "artifacts": [_dump_artifact(artifact) for artifact in recipe.artifacts],
        "local": [_dump_artifact(artifact) for artifact in recipe.local],
        "format": _dump(recipe.format),
        "settings": _dump(recipe.settings),
    }


def read_recipe(value: dict[str, Any]) -> Recipe:
    """Return the recipe that `dump_recipe` made `value` of."""
    own = {
        "artifacts": _read_artifacts(value["artifacts"]),
        "local": _read_artifacts(value["local"]),
        "base": Base(**value["base"]),
        "format": Format(**value["format"]),
        "settings": ImageSettings(**value["settings"]),
        "sources": tuple(Source(**source) for source in value.get("sources", ())),
    }
    return Recipe(**{**value, **own})


def _read_artifacts(values: list[dict[str, Any]]) -> tuple[Artifact, ...]:
    return tuple(
        _KINDS[item["kind"]](**{key: part for key, part in item.items() if key != "kind"})
        for item in values
    )
