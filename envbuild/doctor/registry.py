"""Registries: do those of images and of bases answer, who are we there, and may we push?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from envbuild.doctor.finding import Finding, Visit, describe
from envbuild.errors import RegistryError
from envbuild.oci.auth import find_credential
from envbuild.oci.reference import parse_reference
from envbuild.spec.derive import find_base
from envbuild.spec.registries import find_registry_options

if TYPE_CHECKING:
    from envbuild.oci.registry import Registry
    from envbuild.spec.model import Image

__all__ = ["check_registries"]


def check_registries(visit: Visit) -> Iterator[Finding]:
    """Look at each repository that images are pushed to, and at each base of a registry."""
    places = _find_places(visit)
    for place, name in places.items():
        yield _check_push(visit, place, name)
    if not places:
        yield Finding(
            subject="registry",
            message="none is set: images stay on this machine",
            hint='to push, set `repository = "registry.example.com/team"` under '
            "`[tool.envbuild]` in `pyproject.toml`, or the variable `ENVBUILD_REPOSITORY`",
        )
    for base in sorted({s.image.base or "" for s in visit.specs.values() if _has_base(s.image)}):
        yield _check_base(visit, base)


def _has_base(image: Image) -> bool:
    return find_base(image).kind == "registry"


def _find_places(visit: Visit) -> dict[str, str]:
    """Return the repositories, each with an environment whose images would go there."""
    places: dict[str, str] = {}
    for name, spec in visit.specs.items():
        place = spec.image.repository or visit.settings.repository
        if place is not None:
            places.setdefault(place, name)
    if not visit.specs and visit.settings.repository is not None:
        places[visit.settings.repository] = "doctor"
    return places


def _open(visit: Visit, host: str) -> Registry:
    from envbuild.oci.registry import open_registry

    options = find_registry_options(visit.settings, host)
    return open_registry(host, options=replace(options, patience=visit.patience))


def _check_push(visit: Visit, place: str, name: str) -> Finding:
    subject = f"push to `{place}`"
    reference = parse_reference(f"{place}/{name}")
    try:
        who = _say_login(reference.registry)
        _open(visit, reference.registry).check_push(reference.repository)
    except RegistryError as error:
        return describe(subject, error)
    return Finding(subject=subject, message=f"is allowed, {who}")


def _check_base(visit: Visit, base: str) -> Finding:
    subject = f"base `{base}`"
    reference = parse_reference(base)
    try:
        registry = _open(visit, reference.registry)
        found = registry.find_manifest(reference.repository, reference.target)
    except RegistryError as error:
        return describe(subject, error)
    if found is None:
        return Finding(
            subject=subject,
            state="warning",
            message=f"`{reference.registry}` doesn't have it any more",
            hint="what is locked goes on working while its digest is there; "
            "choose another `base` under `[image]`",
        )
    return Finding(subject=subject, message=f"is there, {_say_login(reference.registry)}")


def _say_login(host: str) -> str:
    """Say who we are to a registry: the name, never the secret."""
    found = find_credential(host)
    if found is None:
        return "without a login"
    return f"as `{found.user}`" if found.user else "by a stored token"
