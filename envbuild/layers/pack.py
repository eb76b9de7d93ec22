"""Decides which packages share a layer: a pure function of what is locked, whatever its order.

An engine stacks layers, and takes everything above a changed one anew; a registry takes each by
itself. So what is big and seldom changes lies at the bottom, big wheels have a layer each that
every environment shares, and the rest falls into buckets by name: an upgrade moves nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from envbuild.identity.recipe import Recipe
from envbuild.kit.canonical import digest_json
from envbuild.layers.plan import (
    ALONE,
    ALONE_BYTES,
    ASSEMBLER,
    BUCKETS,
    CONDA_BUCKETS,
    DEBIAN_BUCKETS,
    byte_constants,
)
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage, Wheel

__all__ = ["LayerPlan", "has_conda", "plan_layers", "skeleton_key"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerPlan:
    """One layer: the artifacts in it, sorted, and `key`, a digest of all that its bytes depend on.

    Later artifacts overwrite what earlier ones bring.
    """

    key: str
    artifacts: tuple[Artifact, ...]


def plan_layers(recipe: Recipe) -> tuple[LayerPlan, ...]:
    """Return the layers of `recipe`'s artifacts, lowest first; none is empty.

    Debian packages, conda's Python, the other conda packages, the biggest wheels, the other
    wheels: so what pip resolved for an environment lies above what conda brought, as it would in
    a prefix. A conda package's size is not in a lock, and so has no say.
    """
    debian = [a for a in recipe.artifacts if isinstance(a, DebianPackage)]
    conda = [a for a in recipe.artifacts if isinstance(a, CondaPackage)]
    wheels = [a for a in recipe.artifacts if isinstance(a, Wheel)]
    big = _find_big(wheels)
    groups: list[list[Artifact]] = [
        *_share(debian, DEBIAN_BUCKETS),
        [package for package in conda if package.name == "python"],
        *_share((package for package in conda if package.name != "python"), CONDA_BUCKETS),
        *_alone(big),
        *_share((wheel for wheel in wheels if wheel not in big), BUCKETS),
    ]
    return tuple(_make_plan(recipe, group) for group in groups if group)


def skeleton_key(recipe: Recipe) -> str:
    """Return the key of the layer that no package brings (`layers.skeleton`)."""
    return digest_json(
        {
            **_say_assembler(recipe),
            "skeleton": {
                "platform": recipe.platform,
                "base": recipe.base.kind,
                "interpreter": recipe.interpreter,
                "user": recipe.settings.user,
                "conda": has_conda(recipe),
            },
        }
    )


def has_conda(recipe: Recipe) -> bool:
    """Return whether the prefix is conda's, with a `conda-meta` of its own."""
    return any(isinstance(artifact, CondaPackage) for artifact in recipe.artifacts)


def _find_big(wheels: list[Wheel]) -> list[Wheel]:
    """Return the wheels that get a layer of their own, the biggest first."""
    big = [wheel for wheel in wheels if wheel.size >= ALONE_BYTES]
    return sorted(big, key=lambda wheel: (-wheel.size, wheel.name, wheel.sha256))[:ALONE]


def _alone(artifacts: Iterable[Artifact]) -> Iterator[list[Artifact]]:
    for artifact in artifacts:
        yield [artifact]


def _share(artifacts: Iterable[Artifact], count: int) -> Iterator[list[Artifact]]:
    """Yield `count` buckets, each with the artifacts whose name's hash falls into it."""
    buckets: list[list[Artifact]] = [[] for _ in range(count)]
    for artifact in artifacts:
        spread = hashlib.sha256(artifact.name.encode()).digest()
        buckets[int.from_bytes(spread[:8], "big") % count].append(artifact)
    yield from buckets


def _make_plan(recipe: Recipe, group: list[Artifact]) -> LayerPlan:
    artifacts = tuple(sorted(group, key=_say_artifact))
    said = {**_say_assembler(recipe), "artifacts": [_say_artifact(a) for a in artifacts]}
    return LayerPlan(key=digest_json(said), artifacts=artifacts)


def _say_assembler(recipe: Recipe) -> dict[str, object]:
    return {
        "envbuild-layer": ASSEMBLER,
        "plan": dict(byte_constants("gzip")),
        "prefix": recipe.prefix,
        "python-minor": recipe.python_minor,
    }


def _say_artifact(artifact: Artifact) -> list[str]:
    kind = {CondaPackage: "conda", DebianPackage: "debian", Wheel: "wheel"}[type(artifact)]
    return [kind, artifact.name, artifact.version, artifact.sha256]
