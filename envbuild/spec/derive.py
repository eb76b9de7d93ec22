"""What follows from a spec without any look elsewhere: its suite, its interpreter."""

from __future__ import annotations

from typing import Final

from envbuild.spec.formats import parse_base, parse_python
from envbuild.spec.model import EnvSpec

__all__ = ["find_debian_python", "find_interpreter", "find_suite"]

# The version of the package `python3` in each suite; one that is not here is not checked.
_DEBIAN_PYTHONS: Final = {
    "buster": "3.7",
    "bullseye": "3.9",
    "bookworm": "3.11",
    "trixie": "3.13",
}


def find_debian_python(suite: str) -> str | None:
    """Return `MAJOR.MINOR` of a Debian suite's Python, or None where that is not known."""
    return _DEBIAN_PYTHONS.get(suite)


def find_suite(spec: EnvSpec) -> str | None:
    """Return the Debian suite that `spec`'s Debian packages come from, or None."""
    return parse_base(spec.image.base).suite or spec.system.suite


def find_interpreter(spec: EnvSpec) -> str | None:
    """Return the path of the Python that the base brings.

    None where `[conda]` brings Python, or where a registry's image does not say.
    """
    if spec.conda is not None:
        return None
    if spec.image.interpreter is None and parse_base(spec.image.base).kind == "debian":
        return f"/usr/bin/python{parse_python(spec.python).minor}"
    return spec.image.interpreter
