"""Names an image by what is inside: the recipe, its env digest, and the tag made from it.

The identity is version 2 of an explicit list of fields in canonical JSON; `identity_fields` is the
list, and the golden vectors in `tests/identity/golden` hold it. What is not in the list cannot
reach an image: names of environments and files, order, comments, URLs, registries, variables at
run time, the tools that resolved, other platforms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from envbuild.errors import LockError, SpecError
from envbuild.identity.recipe import Base, Format, ImageSettings, Recipe, Source
from envbuild.kit.canonical import digest_json
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage, PlatformLock, Wheel
from envbuild.lock.names import normalise_name
from envbuild.spec.derive import PREFIX, find_base
from envbuild.spec.model import EnvSpec

__all__ = [
    "IDENTITY_VERSION",
    "TAG_DIGITS",
    "digest_index",
    "digest_recipe",
    "format_reference",
    "format_tag",
    "identity_fields",
    "plan_recipe",
]

IDENTITY_VERSION: Final = 2
"""Version of the list of fields; raised with any change of it, so no two lists share a digest."""

TAG_DIGITS: Final = 20
"""Hex digits of the env digest in a tag: 80 bits; the whole digest is in a label."""

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_NAME: Final = 255
"""Longest image name without its tag, by Docker's reference grammar (a tag has up to 128)."""


def plan_recipe(
    spec: EnvSpec,
    lock: PlatformLock,
    *,
    form: Format | None = None,
    base: Base | None = None,
    local: Iterable[Wheel] = (),
    sources: Iterable[Source] = (),
) -> Recipe:
    """Return the recipe of the image that `lock` is for; `lock` is fresh for `spec`.

    `form` is the repository's choice of formats; `base` stands in for the lock's where it is built
    from a Dockerfile; `local` are wheels of the repository's own source trees, and `sources` its
    files that the image holds, neither of which a lock has.
    Artifacts are sorted and their names spelled in one way, so a recipe has no trace of the order
    or the spelling that a resolver happened to choose. Raises `SpecError` `identity.no-python`
    where wheels have no interpreter to run on, `identity.two-pythons` where the spec names one
    beside conda's, and `LockError` `lock.stale` for a lock without the base image's digest.
    """
    interpreter = _find_interpreter(spec, lock)
    return Recipe(
        platform=lock.platform,
        base=base or _plan_base(spec, lock),
        artifacts=tuple(sorted(map(_normalise, lock.artifacts), key=_artifact_fields)),
        local=tuple(sorted(local, key=_artifact_fields)),
        sources=tuple(sorted(sources, key=lambda source: source.target)),
        prefix=PREFIX,
        python_minor=lock.python_minor,
        interpreter=interpreter,
        settings=ImageSettings(user=spec.image.user, labels=dict(spec.image.labels)),
        format=form or Format(),
        bytecode=_find_compiler(spec, lock, interpreter),
        link_scripts=spec.conda.link_scripts if spec.conda else "refuse",
        managed=not spec.image.user_managed,
    )


def _find_compiler(spec: EnvSpec, lock: PlatformLock, interpreter: str) -> str:
    """Return the full version of the Python that compiles, "" where there is none or none wanted.

    A base image's own Python is only asked where the spec says so: it is in no lock, and the
    machine that builds may not have it. Where only its minor version is known, what it would
    compile is not certain, and the image goes without.
    """
    from_conda = any(package.name == "python" for package in lock.conda)
    from_debian = interpreter == f"/usr/bin/python{lock.python_minor}" and _has_debian(lock)
    locked = from_conda or from_debian
    wanted = locked if spec.image.bytecode is None else spec.image.bytecode
    certain = lock.python.count(".") > 1
    return lock.python if wanted and certain and (from_conda or interpreter) else ""


def _has_debian(lock: PlatformLock) -> bool:
    """Return whether Debian's packages bring Python."""
    minor = lock.python_minor
    names = {f"python{minor}", f"python{minor}-minimal"}
    return any(package.name in names for package in lock.debian)


def _plan_base(spec: EnvSpec, lock: PlatformLock) -> Base:
    kind = find_base(spec.image).kind
    if kind != "registry":
        return Base(kind=kind)
    if lock.base is None:
        raise LockError(
            "lock.stale",
            f"the lock has no digest of the base image `{spec.image.base}` for `{lock.platform}`",
            hint="to look it up, run `nox -s lock`",
        )
    return Base(kind="image", digest=lock.base.digest, reference=lock.base.reference)


def _normalise(artifact: Artifact) -> Artifact:
    """Spell a wheel's name as PEP 503 compares it; conda's and Debian's names have one spelling."""
    if not isinstance(artifact, Wheel):
        return artifact
    name = normalise_name(artifact.name)
    return artifact if name == artifact.name else replace(artifact, name=name)


def _find_interpreter(spec: EnvSpec, lock: PlatformLock) -> str:
    """Return the Python outside the prefix that the environment runs on, or ""."""
    named = spec.image.interpreter
    if any(package.name == "python" for package in lock.conda):
        if named:
            raise SpecError(
                "identity.two-pythons",
                f"`image.interpreter` names `{named}`, but conda brings Python, too",
                hint="leave out `image.interpreter`, or everything that needs conda's Python",
            )
        return ""
    if named:
        return named
    if _has_debian(lock):
        return f"/usr/bin/python{lock.python_minor}"
    if lock.wheels:
        raise SpecError(
            "identity.no-python",
            f"nothing brings Python {lock.python_minor} for `{lock.platform}`, "
            "which its wheels need",
            hint="name the base image's own in `image.interpreter`, or take conda's with a "
            "`[conda]` table",
        )
    return ""


def identity_fields(
    recipe: Recipe, *, assembler: int, plan: Mapping[str, int | str]
) -> dict[str, Any]:
    """Return everything that the image of `recipe` is a function of, as canonical JSON's values.

    `assembler` is the version of the code that makes layers, `plan` the constants it uses.
    Artifacts are lists `[manager, name, version, build, sha256, size]`, sorted; for a Debian
    package the build is its architecture, for a wheel it is empty. Sizes (bytes) decide which
    packages share a layer. `sources` came later: only a recipe that has some has that field, so no
    other's digest has moved, and no two lists can be one.
    """
    return {
        "envbuild-identity": IDENTITY_VERSION,
        "platform": recipe.platform,
        "base": {"kind": recipe.base.kind, "digest": recipe.base.digest},
        "artifacts": sorted(map(_artifact_fields, recipe.artifacts)),
        "local": sorted(map(_artifact_fields, recipe.local)),
        **({"sources": {s.target: s.digest for s in recipe.sources}} if recipe.sources else {}),
        "prefix": recipe.prefix,
        "python-minor": recipe.python_minor,
        "interpreter": recipe.interpreter,
        "user": recipe.settings.user,
        "labels": dict(recipe.settings.labels),
        "format": {
            "compression": recipe.format.compression,
            "media-types": recipe.format.media_types,
        },
        "bytecode": recipe.bytecode,
        "link-scripts": recipe.link_scripts,
        "managed": recipe.managed,
        "assembler": assembler,
        "plan": dict(plan),
    }


def _artifact_fields(artifact: Artifact) -> list[str | int]:
    if isinstance(artifact, CondaPackage):
        manager, build = "conda", artifact.build
    elif isinstance(artifact, DebianPackage):
        manager, build = "debian", artifact.architecture
    else:
        manager, build = "pip", ""
    return [manager, artifact.name, artifact.version, build, artifact.sha256, artifact.size]


def digest_recipe(recipe: Recipe, *, assembler: int, plan: Mapping[str, int | str]) -> str:
    """Return the env digest of one image: same content, same digest, on every machine."""
    return digest_json(identity_fields(recipe, assembler=assembler, plan=plan))


def digest_index(digests: Mapping[str, str]) -> str:
    """Return the digest that names an image for several platforms: env digest by platform."""
    return digest_json({"envbuild-index": IDENTITY_VERSION, "platforms": dict(digests)})


def format_tag(digest: str) -> str:
    """Return the tag for an env digest: its first 20 hex digits."""
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"not a digest: {digest!r}")
    return digest.removeprefix("sha256:")[:TAG_DIGITS]


def format_reference(repository: str, name: str, digest: str) -> str:
    """Return `REPOSITORY/NAME:TAG` for environment `name`.

    Raises `SpecError` `identity.long-name` where registries would refuse the name's length.
    """
    image = f"{repository}/{name}"
    if len(image) > _MAX_NAME:
        raise SpecError(
            "identity.long-name",
            f"the image name `{image}` has {len(image)} characters, and {_MAX_NAME} are allowed",
            hint="choose a shorter repository or a shorter name for the environment",
        )
    return f"{image}:{format_tag(digest)}"
