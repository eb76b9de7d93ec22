"""Makes sure that exactly the wanted image is in the store and in the registry, and no work else.

Every question has three answers: it is there, it is not there, or an error. "Could not tell" is
never taken for either of the first two.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envbuild.errors import ImageError, RegistryError, SpecError
from envbuild.identity.digest import digest_recipe, format_reference, plan_recipe
from envbuild.identity.recipe import Recipe
from envbuild.image.config import DIGEST_LABEL, BaseParts
from envbuild.kit.files import exclusive
from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.layers.plan import ASSEMBLER, plan_constants
from envbuild.lock.model import Lock
from envbuild.oci.descriptor import Descriptor
from envbuild.oci.store import Store
from envbuild.spec.model import EnvSpec
from envbuild.spec.platforms import PLATFORMS, Platform
from envbuild.spec.settings import Settings

if TYPE_CHECKING:
    from envbuild.oci.registry import Registry

__all__ = [
    "ImagePlan",
    "Pushed",
    "ensure_image",
    "ensure_pushed",
    "find_image",
    "plan_image",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePlan:
    """The image that a lock asks for: its recipe, its env digest and the name it goes by."""

    name: str
    spec: EnvSpec
    recipe: Recipe
    digest: str
    reference: str
    """`REPOSITORY/NAME:TAG`; the tag is the beginning of the env digest."""
    has_registry: bool
    """False where no repository is set: the image stays on this machine."""


def plan_image(
    name: str, spec: EnvSpec, lock: Lock, *, platform: Platform, settings: Settings
) -> ImagePlan:
    """Name the image of `lock` on `platform`; pure, and quick enough for every environment.

    Raises `SpecError` where the spec has no such platform.
    """
    part = lock.platforms.get(platform.subdir)
    if part is None:
        raise SpecError(
            "image.platform",
            f"`{name}` can't be built for `{platform.subdir}`: "
            f"its platforms are {', '.join(f'`{p}`' for p in sorted(lock.platforms))}",
            hint=f"add `{platform.subdir}` to `platforms` in `envs/{name}.toml`, "
            f"then run `nox -s lock -- {name}`",
        )
    recipe = plan_recipe(spec, part)
    digest = digest_recipe(recipe, assembler=ASSEMBLER, plan=plan_constants("gzip"))
    repository = spec.image.repository or settings.repository
    return ImagePlan(
        name=name,
        spec=spec,
        recipe=recipe,
        digest=digest,
        reference=format_reference(repository or "envbuild", name, digest),
        has_registry=repository is not None,
    )


def find_image(plan: ImagePlan, store: Store) -> Descriptor | None:
    """Return the manifest of the image if the store has it with every blob.

    What a machine that lost its power cut short is not there: it is made again.
    """
    found = store.find(plan.reference)
    if found is None:
        return None
    try:
        manifest = json.loads(store.read(found.digest))
    except ImageError:
        return None
    blobs = [manifest["config"], *manifest["layers"]]
    return found if all(store.has(blob["digest"], blob["size"]) for blob in blobs) else None


def ensure_image(
    plan: ImagePlan, *, store: Store, settings: Settings, cache: Cache, progress: Progress
) -> tuple[Descriptor, bool]:
    """Return the image's manifest, and whether it had to be assembled."""
    found = find_image(plan, store)
    if found is not None:
        return found, False
    lock = cache.root / "building" / f"{plan.digest.removeprefix('sha256:')}.lock"

    def say() -> None:
        progress.update(plan.name, "waiting for another build of the same image")

    with exclusive(lock, waiting=say):
        found = find_image(plan, store)
        if found is not None:
            return found, False
        manifest = _assemble(plan, store, settings, cache, progress)
        store.name(plan.reference, manifest)
        return manifest, True


def _assemble(
    plan: ImagePlan, store: Store, settings: Settings, cache: Cache, progress: Progress
) -> Descriptor:
    from envbuild.image.assemble import assemble_image
    from envbuild.image.files import Supply, fetch_artifacts

    supply = Supply(
        spec=plan.spec, platform=plan.recipe.platform, python_minor=plan.recipe.python_minor,
        settings=settings, cache=cache,
    )  # fmt: skip
    progress.update(plan.name, "planning")
    return assemble_image(
        plan.recipe,
        plan.digest,
        base=_fetch_base(plan, store, settings, progress),
        fetch=lambda artifacts: fetch_artifacts(
            artifacts, supply=supply, progress=progress, task=plan.name
        ),
        store=store,
        cache=cache,
        progress=progress,
        task=plan.name,
    )


def _fetch_base(plan: ImagePlan, store: Store, settings: Settings, progress: Progress) -> BaseParts:
    """Return the base image's parts, its blobs in the store; nothing for assembled bases."""
    base = plan.recipe.base
    if base.kind != "image":
        return BaseParts()
    from envbuild.oci.reference import parse_reference
    from envbuild.oci.registry import open_registry
    from envbuild.oci.transfer import pull_image
    from envbuild.spec.registries import find_registry_options

    platform = PLATFORMS[plan.recipe.platform]
    reference = parse_reference(f"{base.reference.partition('@')[0]}@{base.digest}")
    options = find_registry_options(settings, reference.registry)
    found = pull_image(
        open_registry(reference.registry, options=options), reference, store,
        os=platform.os, architecture=platform.architecture, progress=progress, task=plan.name,
    )  # fmt: skip
    manifest = json.loads(store.read(found.digest))
    return BaseParts(
        config=json.loads(store.read(manifest["config"]["digest"])),
        layers=tuple(Descriptor.from_json(layer) for layer in manifest["layers"]),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """What a push did: nothing (`there` is True), or so many blobs and bytes."""

    there: bool
    blobs: int = 0
    bytes: int = 0


def ensure_pushed(
    plan: ImagePlan, *, store: Store, settings: Settings, cache: Cache, progress: Progress
) -> Pushed:
    """Make sure that the registry has the image; assembles it only if the registry lacks it.

    Raises `RegistryError` where the registry can't tell, and `ImageError` where the tag holds an
    image of another identity.
    """
    if not plan.has_registry:
        raise RegistryError(
            "registry.not-set",
            f"there is no registry to push `{plan.name}` to",
            hint='set `repository = "registry.example.com/team"` under `[tool.envbuild]` in '
            "`pyproject.toml`, or the variable ENVBUILD_REPOSITORY",
        )
    from envbuild.oci.reference import parse_reference
    from envbuild.oci.registry import open_registry
    from envbuild.oci.transfer import push_image
    from envbuild.spec.registries import find_registry_options

    reference = parse_reference(plan.reference)
    registry = open_registry(
        reference.registry, options=find_registry_options(settings, reference.registry)
    )
    remote = registry.find_manifest(reference.repository, reference.target)
    local = find_image(plan, store)
    if remote is not None and local is not None and remote.digest == local.digest:
        return Pushed(there=True)
    if remote is not None:
        label = _read_label(registry, reference.repository, remote)
        if label == plan.digest:
            return Pushed(there=True)
        raise ImageError(
            "image.tag-taken",
            f"`{plan.reference}` holds an image that was not made from this lock",
            hint="remove that tag from the registry, or push to another repository",
        )
    manifest, _ = ensure_image(plan, store=store, settings=settings, cache=cache, progress=progress)
    report = push_image(store, manifest, reference, registry, progress=progress, task=plan.name)
    return Pushed(there=False, blobs=report.blobs_sent, bytes=report.bytes_sent)


def _read_label(registry: Registry, repository: str, remote: Descriptor) -> str:
    """Return the env digest that the registry's image says it has; "" if it says none."""
    _, data = registry.read_manifest(repository, remote.digest)
    config = json.loads(data).get("config")
    if not isinstance(config, dict):
        return ""
    blob = json.loads(registry.read_blob(repository, str(config.get("digest"))))
    labels = (blob.get("config") or {}).get("Labels") or {}
    return str(labels.get(DIGEST_LABEL, ""))
