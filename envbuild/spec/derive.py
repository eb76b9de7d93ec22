"""What follows from a spec without any look elsewhere: its suite, its interpreter."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from envbuild.spec.formats import DEFAULT_BASE, parse_base, parse_moment, parse_python
from envbuild.spec.formats.images import Base
from envbuild.spec.model import EnvSpec, Image

__all__ = [
    "PREFIX",
    "find_base",
    "find_cutoff",
    "find_debian_python",
    "find_interpreter",
    "find_suite",
    "narrow_spec",
    "say_base",
]

PREFIX: Final = "/opt/env"
"""Where every environment lives. One place for all, so that a package's layer fits all of them."""

# The version of the package `python3` in each suite; one that is not here is not checked.
_DEBIAN_PYTHONS: Final = {
    "buster": "3.7",
    "bullseye": "3.9",
    "bookworm": "3.11",
    "trixie": "3.13",
}


def find_base(image: Image) -> Base:
    """Return what the image stands on."""
    if image.dockerfile is not None:
        return Base(kind="dockerfile")
    return parse_base(image.base or DEFAULT_BASE)


def say_base(image: Image) -> str:
    """Return the base as a message names it: its text, or the Dockerfile's path."""
    if image.dockerfile is not None:
        return "the Dockerfile" if "\n" in image.dockerfile else image.dockerfile
    return image.base or DEFAULT_BASE


def find_debian_python(suite: str) -> str | None:
    """Return `MAJOR.MINOR` of a Debian suite's Python, or None where that is not known."""
    return _DEBIAN_PYTHONS.get(suite)


def narrow_spec(spec: EnvSpec, platform: str) -> EnvSpec:
    """Return what `spec` says for one platform: its lists with those of `[platform.NAME]`."""
    extra = spec.platform.get(platform)
    if extra is None:
        return spec
    conda, pip, system = spec.conda, spec.pip, spec.system
    if conda is not None:
        conda = replace(conda, dependencies=(*conda.dependencies, *extra.conda.dependencies))
    return replace(
        spec,
        conda=conda,
        pip=replace(pip, dependencies=(*pip.dependencies, *extra.pip.dependencies)),
        system=replace(system, packages=(*system.packages, *extra.system.packages)),
    )


def find_suite(spec: EnvSpec) -> str | None:
    """Return the Debian suite that `spec`'s Debian packages come from, or None."""
    return find_base(spec.image).suite or spec.system.suite


def find_cutoff(spec: EnvSpec) -> str:
    """Return the moment (RFC 3339) from which on packages aren't seen, empty for no such one."""
    return parse_moment(spec.exclude_newer).isoformat() if spec.exclude_newer else ""


def find_interpreter(spec: EnvSpec) -> str | None:
    """Return the path of the Python that the base brings.

    None where `[conda]` brings Python, or where nothing says where a base has its own.
    """
    if spec.conda is not None:
        return None
    if spec.image.interpreter is None and find_base(spec.image).kind == "debian":
        return f"/usr/bin/python{parse_python(spec.python).minor}"
    return spec.image.interpreter
