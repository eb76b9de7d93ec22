"""Names the image that a lock asks for: pure, and quick enough for every environment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from envbuild.errors import SpecError
from envbuild.identity.digest import (
    digest_index,
    digest_recipe,
    format_reference,
    identity_fields,
    plan_recipe,
)
from envbuild.identity.recipe import Base, Format, Recipe, Source
from envbuild.layers.plan import ASSEMBLER, plan_constants
from envbuild.lock.model import Artifact, Lock, PlatformLock, Wheel
from envbuild.lock.provenance import Provenance
from envbuild.spec.model import EnvSpec
from envbuild.spec.platforms import PLATFORMS, Platform, find_host_platform
from envbuild.spec.settings import Settings

if TYPE_CHECKING:
    from envbuild.layers.source import SourceTree

__all__ = [
    "BuildTrees",
    "EnvironmentPlan",
    "ImagePlan",
    "describe_image",
    "digest_image",
    "plan_environment",
    "plan_platform",
]


BuildTrees = Callable[[PlatformLock], tuple[Wheel, ...]]
"""Gives the wheels of the repository's own source trees, built and in the cache."""


def _no_trees(_: PlatformLock) -> tuple[Wheel, ...]:
    return ()


_LOCAL: Final = "envbuild"
"""Stands in a reference for the repository where none is set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePlan:
    """One platform's image: its recipe, its env digest and the names it goes by."""

    name: str
    spec: EnvSpec
    recipe: Recipe
    digest: str
    reference: str
    """`REPOSITORY/NAME:TAG` of the environment; its tag names all platforms together."""
    own_reference: str
    """The same with this platform's own tag, by which the store has it."""
    repository: str | None = None
    """Where it is pushed, `host/path` without its name; None: it stays on this machine."""
    host_artifacts: tuple[Artifact, ...] = ()
    """What the same lock has for this machine, whose Python compiles for other platforms, too."""
    provenance: Provenance | None = None
    """Where wheels come from that no index has; None where the repository is not known."""
    sources: Mapping[Source, SourceTree] = field(default_factory=dict)
    """Where the files of the recipe's sources are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvironmentPlan:
    """The image that a lock asks for, on all platforms that have images."""

    name: str
    images: tuple[ImagePlan, ...]
    digest: str
    """One platform: its env digest; more: the digest of all of theirs."""
    reference: str
    repository: str | None
    """Where it is pushed, `host/path` without its name; None: it stays on this machine."""

    def find(self, platform: Platform) -> ImagePlan:
        """Return one platform's image; raises `SpecError` `image.platform` if there is none."""
        for image in self.images:
            if image.recipe.platform == platform.subdir:
                return image
        raise _no_platform(self.name, platform, (i.recipe.platform for i in self.images))


def plan_environment(
    name: str,
    spec: EnvSpec,
    lock: Lock,
    *,
    settings: Settings,
    root: Path | None = None,
    trees: BuildTrees = _no_trees,
) -> EnvironmentPlan:
    """Name the image of `lock` for each of its platforms that containers run on.

    `root` is the repository, whose files that the image holds name it, too, and so do its source
    trees, which `trees` builds.

    Raises `SpecError` `image.no-platform` where there is none.
    """
    subdirs = [subdir for subdir in sorted(lock.platforms) if PLATFORMS[subdir].has_image]
    if not subdirs:
        raise SpecError(
            "image.no-platform",
            f"no platform of `{name}` is one that containers run on",
            hint=f"add `linux-64` or `linux-aarch64` to `platforms` in `envs/{name}.toml`, "
            f"then run `nox -s lock -- {name}`",
        )
    sources = _plan_sources(spec, root)
    images = [
        _plan_image(name, spec, lock, subdir, settings, root, trees, sources) for subdir in subdirs
    ]
    if len(images) == 1:
        digest = images[0].digest
    else:
        digest = digest_index({image.recipe.platform: image.digest for image in images})
    repository = _find_repository(spec, settings)
    reference = format_reference(repository or _LOCAL, name, digest)
    return EnvironmentPlan(
        name=name,
        images=tuple(replace(image, reference=reference) for image in images),
        digest=digest,
        reference=reference,
        repository=repository,
    )


def plan_platform(
    name: str,
    spec: EnvSpec,
    lock: Lock,
    *,
    platform: Platform,
    settings: Settings,
    root: Path | None = None,
    trees: BuildTrees = _no_trees,
) -> ImagePlan:
    """Name one platform's environment alone, also where it can't be an image.

    Raises `SpecError` `image.platform` where the lock hasn't that platform.
    """
    if platform.subdir not in lock.platforms:
        raise _no_platform(name, platform, lock.platforms)
    sources = _plan_sources(spec, root) if platform.has_image else {}
    return _plan_image(name, spec, lock, platform.subdir, settings, root, trees, sources)


def _plan_image(
    name: str,
    spec: EnvSpec,
    lock: Lock,
    subdir: str,
    settings: Settings,
    root: Path | None,
    trees: BuildTrees,
    sources: Mapping[Source, SourceTree],
) -> ImagePlan:
    form = Format(compression=settings.compression, media_types=settings.media_types)
    part = lock.platforms[subdir]
    local = trees(part) if part.trees else ()
    base = _plan_base(spec, subdir, root)
    recipe = plan_recipe(spec, part, form=form, base=base, local=local, sources=sources)
    digest = digest_image(recipe)
    repository = _find_repository(spec, settings)
    reference = format_reference(repository or _LOCAL, name, digest)
    return ImagePlan(
        name=name,
        spec=spec,
        recipe=recipe,
        digest=digest,
        reference=reference,
        own_reference=reference,
        repository=repository,
        host_artifacts=_find_host_artifacts(lock),
        provenance=Provenance(root=root, lock=part) if root else None,
        sources=sources,
    )


def _plan_base(spec: EnvSpec, subdir: str, root: Path | None) -> Base | None:
    """Return the base that a Dockerfile builds, which no lock has; None for every other."""
    if spec.image.dockerfile is None or not PLATFORMS[subdir].has_image:
        return None
    from envbuild.image.dockerfile import plan_dockerfile_base

    return plan_dockerfile_base(spec.image, root=root or Path(), platform=subdir)


def _plan_sources(spec: EnvSpec, root: Path | None) -> Mapping[Source, SourceTree]:
    """Return the repository's files that the image holds, the same on all platforms."""
    if not spec.image.source:
        return {}
    from envbuild.image.sources import plan_sources

    return plan_sources(spec.image, root=root or Path())


def _find_repository(spec: EnvSpec, settings: Settings) -> str | None:
    return spec.image.repository or settings.repository


def _no_platform(name: str, platform: Platform, known: Iterable[str]) -> SpecError:
    return SpecError(
        "image.platform",
        f"`{name}` is not locked for `{platform.subdir}`: "
        f"its platforms are {', '.join(f'`{subdir}`' for subdir in sorted(known))}",
        hint=f"add `{platform.subdir}` to `platforms` in `envs/{name}.toml`, "
        f"then run `nox -s lock -- {name}`",
    )


def digest_image(recipe: Recipe) -> str:
    """Return the env digest of one platform's image."""
    plan = plan_constants(recipe.format.compression)
    return digest_recipe(recipe, assembler=ASSEMBLER, plan=plan)


def describe_image(recipe: Recipe) -> dict[str, Any]:
    """Return everything that one platform's image is a function of, for people to compare."""
    plan = plan_constants(recipe.format.compression)
    return identity_fields(recipe, assembler=ASSEMBLER, plan=plan)


def _find_host_artifacts(lock: Lock) -> tuple[Artifact, ...]:
    host = find_host_platform()
    part = lock.platforms.get(host.subdir) if host else None
    return part.artifacts if part else ()
