"""The environments that come with the package: their names begin with `envbuild-`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = [
    "CURATED",
    "DEFAULT",
    "RESERVED",
    "find_curated",
    "name_curated",
    "read_curated",
    "say_file",
]

RESERVED: Final = "envbuild-"
"""How the names of the environments begin that come with the package."""

DEFAULT: Final = "envbuild-minimal"
"""The one that is meant where a repository has none of its own."""

CURATED: Final = Path(__file__).parents[1] / "curated"
"""The folder with their specs."""


def find_curated() -> tuple[str, ...]:
    """Return their names, sorted."""
    return tuple(sorted(path.stem for path in CURATED.glob("*.toml")))


def name_curated(name: str) -> str:
    """Return how messages name the file of one."""
    return f"envbuild/curated/{name}.toml"


def say_file(name: str) -> str:
    """Return how messages name an environment's file: one that comes with envbuild, or its own."""
    return name_curated(name) if name in find_curated() else f"envs/{name}.toml"


def read_curated(name: str) -> bytes | None:
    """Return the spec of one as bytes, or None if there is none of that name."""
    return (CURATED / f"{name}.toml").read_bytes() if name in find_curated() else None
