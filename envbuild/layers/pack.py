"""Decides which packages share a layer: a pure function of what is locked, whatever its order.

An engine stacks layers, and takes everything above a changed one anew; a registry takes each by
itself. So what is big and seldom changes lies at the bottom, big packages have a layer each that
every environment shares, and the rest falls into buckets by name: an upgrade moves nothing else.
The thresholds come from a simulation, `python -m benchmarks packing`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from envbuild.identity.recipe import Recipe, Source
from envbuild.kit.canonical import digest_json
from envbuild.layers.plan import (
    ALONE,
    ALONE_BYTES,
    ASSEMBLER,
    BUCKETS,
    CONDA_BUCKETS,
    DEBIAN_BASE,
    DEBIAN_BUCKETS,
    PART_BYTES,
    byte_constants,
)
from envbuild.layers.source import find_folders
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage, Wheel

__all__ = [
    "LayerPlan",
    "finish_key",
    "has_conda",
    "has_python",
    "is_compiled",
    "plan_layers",
    "skeleton_key",
    "source_key",
]

_GCC_BASE: Final = re.compile(r"gcc-\d+-base")
_PYTHON_BUILD: Final = re.compile(r"py\d")
_DEBIAN_PYTHON: Final = re.compile(r"(?:lib)?python3")


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerPlan:
    """One layer: the artifacts in it, sorted, and `key`, a digest of all that its bytes depend on.

    Later artifacts overwrite what earlier ones bring. A huge artifact is split by file over
    `parts` layers, of which this is number `part`, from 0 (`layers.split`).
    """

    key: str
    artifacts: tuple[Artifact, ...]
    part: int = 0
    parts: int = 1


def plan_layers(recipe: Recipe) -> tuple[LayerPlan, ...]:
    """Return the layers of `recipe`'s artifacts, lowest first; none is empty.

    What every Debian image has, other Debian packages, conda's Python, other conda packages,
    wheels, and wheels made of the repository's own sources: so what pip resolved for an
    environment lies above what conda brought, as it would in a prefix. Of each kind, the biggest
    are lowest, and the buckets above them.
    """
    debian = [a for a in recipe.artifacts if isinstance(a, DebianPackage)]
    conda = [a for a in recipe.artifacts if isinstance(a, CondaPackage)]
    wheels = [a for a in recipe.artifacts if isinstance(a, Wheel)]
    base = [package for package in debian if _is_debian_base(package)]
    others = [package for package in debian if not _is_debian_base(package)]
    big = _find_big([*others, *conda, *wheels])
    groups: Iterable[list[Artifact]] = chain(
        [[*base]],
        _arrange(others, big, DEBIAN_BUCKETS),
        _arrange(conda, big, CONDA_BUCKETS),
        _arrange(wheels, big, BUCKETS),
        [[*recipe.local]],
    )
    return tuple(plan for group in groups if group for plan in _make_plans(recipe, group, big))


def skeleton_key(recipe: Recipe) -> str:
    """Return the key of the layer that no package brings (`layers.skeleton`)."""
    return digest_json(
        {
            **_say_assembler(recipe),
            "prefix": recipe.prefix,
            "python-minor": recipe.python_minor,
            "skeleton": {
                "platform": recipe.platform,
                "base": recipe.base.kind,
                "interpreter": recipe.interpreter if recipe.managed else "",
                "user": recipe.settings.user,
                "conda": has_conda(recipe),
            },
        }
    )


def finish_key(recipe: Recipe) -> str:
    """Return the key of the layer that all Debian packages make together (`layers.debfinish`)."""
    packages = [a for a in recipe.artifacts if isinstance(a, DebianPackage)]
    return digest_json(
        {
            **_say_assembler(recipe),
            "finish": {"base": recipe.base.kind, "user": recipe.settings.user},
            "artifacts": sorted(map(_say_artifact, packages)),
        }
    )


def source_key(recipe: Recipe, source: Source) -> str:
    """Return the key of the layer that holds files of the repository (`layers.source`)."""
    folders = find_folders(recipe, source.target)
    return digest_json(
        {
            **_say_assembler(recipe),
            "source": {"target": source.target, "digest": source.digest},
            "folders": [[folder.path, folder.mode, folder.owner] for folder in folders],
        }
    )


def has_conda(recipe: Recipe) -> bool:
    """Return whether the prefix is conda's, with a `conda-meta` of its own."""
    return any(isinstance(artifact, CondaPackage) for artifact in recipe.artifacts)


def is_compiled(recipe: Recipe, artifact: Artifact) -> bool:
    """Return whether an artifact's layer holds byte code that is made for it.

    Of Debian's packages only those of Python do, and only where the environment runs on it.
    """
    if not recipe.bytecode:
        return False
    if isinstance(artifact, DebianPackage):
        own = recipe.interpreter == f"/usr/bin/python{recipe.python_minor}"
        return own and bool(_DEBIAN_PYTHON.match(artifact.name))
    return has_python(artifact)


def has_python(artifact: Artifact) -> bool:
    """Return whether an artifact's layer depends on the Python of its environment.

    Only such an artifact's files may be installed by Python's minor version. Of conda packages
    these are `noarch` ones, Python itself, and those whose build string names a Python; a
    library's layer is the same for every Python. Debian's packages name theirs themselves.
    """
    if isinstance(artifact, CondaPackage):
        in_noarch = artifact.url.split("/")[-2:-1] == ["noarch"]
        return in_noarch or artifact.name == "python" or bool(_PYTHON_BUILD.match(artifact.build))
    return isinstance(artifact, Wheel)


def _is_debian_base(package: DebianPackage) -> bool:
    return package.name in DEBIAN_BASE or bool(_GCC_BASE.fullmatch(package.name))


def _find_big(artifacts: list[Artifact]) -> frozenset[Artifact]:
    """Return those that get layers of their own: all from a fixed size on, while there is room."""
    big = [artifact for artifact in artifacts if artifact.size >= ALONE_BYTES]
    big.sort(key=_by_size)
    room = ALONE
    found: list[Artifact] = []
    for artifact in big:
        room -= _count_parts(artifact)
        if room < 0:
            break
        found.append(artifact)
    return frozenset(found)


def _by_size(artifact: Artifact) -> tuple[int, list[str]]:
    return -artifact.size, _say_artifact(artifact)


def _count_parts(artifact: Artifact) -> int:
    return -(-artifact.size // PART_BYTES)


def _arrange(
    artifacts: Iterable[Artifact], big: frozenset[Artifact], buckets: int
) -> Iterator[list[Artifact]]:
    """Yield the big ones alone, conda's Python first, then the buckets of the others."""
    alone: list[Artifact] = []
    shared: list[Artifact] = []
    for artifact in artifacts:
        (alone if artifact in big else shared).append(artifact)
    for artifact in sorted(alone, key=lambda a: (not _is_python(a), _by_size(a))):
        yield [artifact]
    yield from _share(shared, buckets)


def _is_python(artifact: Artifact) -> bool:
    return isinstance(artifact, CondaPackage) and artifact.name == "python"


def _share(artifacts: Iterable[Artifact], count: int) -> Iterator[list[Artifact]]:
    """Yield `count` buckets, each with the artifacts whose name's hash falls into it."""
    buckets: list[list[Artifact]] = [[] for _ in range(count)]
    for artifact in artifacts:
        spread = hashlib.sha256(artifact.name.encode()).digest()
        buckets[int.from_bytes(spread[:8], "big") % count].append(artifact)
    yield from buckets


def _make_plans(
    recipe: Recipe, group: list[Artifact], big: frozenset[Artifact]
) -> Iterator[LayerPlan]:
    artifacts = tuple(sorted(group, key=_say_artifact))
    said = {**_say_assembler(recipe), "artifacts": [_say_artifact(a) for a in artifacts]}
    if not all(isinstance(artifact, DebianPackage) for artifact in artifacts):
        said["prefix"] = recipe.prefix
    if recipe.link_scripts != "refuse" and isinstance(artifacts[0], CondaPackage):
        # A layer that was made under one policy says nothing of what another one refuses.
        said["link-scripts"] = recipe.link_scripts
    if any(map(has_python, artifacts)):
        said["python-minor"] = recipe.python_minor
    if any(is_compiled(recipe, artifact) for artifact in artifacts):
        said |= {"python-minor": recipe.python_minor, "bytecode": recipe.bytecode}
    parts = _count_parts(artifacts[0]) if artifacts[0] in big else 1
    for part in range(parts):
        told = said if parts == 1 else {**said, "part": [part, parts]}
        yield LayerPlan(key=digest_json(told), artifacts=artifacts, part=part, parts=parts)


def _say_assembler(recipe: Recipe) -> dict[str, object]:
    constants = byte_constants(recipe.format.compression)
    return {"envbuild-layer": ASSEMBLER, "constants": dict(constants)}


def _say_artifact(artifact: Artifact) -> list[str]:
    kind = {CondaPackage: "conda", DebianPackage: "debian", Wheel: "wheel"}[type(artifact)]
    return [kind, artifact.name, artifact.version, artifact.sha256]
