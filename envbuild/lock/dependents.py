"""Finds who needs a package of a lock, in the files beside it: for messages only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from envbuild.lock.names import normalise_name
from envbuild.lock.pip_pins import parse_pins

__all__ = ["find_dependents"]


def find_dependents(files: Mapping[str, bytes], name: str) -> tuple[str, ...]:
    """Return the packages that need the package `name`, sorted; `files` are a lock's siblings."""
    wanted = normalise_name(name)
    found: set[str] = set()
    for file, data in files.items():
        if file.startswith("requirements."):
            found.update(_find_pip(data.decode(), wanted))
        elif file.endswith(".yml"):
            found.update(_find_conda(data, wanted))
    return tuple(sorted(found))


def _find_pip(text: str, wanted: str) -> Iterator[str]:
    for pin in parse_pins(text):
        if pin.name == wanted:
            yield from (via for via in pin.via if "/" not in via and not via.startswith("-"))


def _find_conda(data: bytes, wanted: str) -> Iterator[str]:
    from envbuild.lock.conda_file import load_yaml

    for entry in load_yaml(data)["package"]:
        if wanted in map(normalise_name, entry.get("dependencies") or ()):
            yield entry["name"]
