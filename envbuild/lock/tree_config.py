"""Digests what a source tree's build files say of its dependencies."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from envbuild.kit.canonical import digest_json

__all__ = ["digest_config"]

_READ: Final = ("name", "dependencies", "optional-dependencies", "requires-python", "dynamic")
"""Keys of `project` (PEP 621) that decide what a resolver is told."""
_OLD: Final = ("setup.py", "setup.cfg")


def digest_config(root: Path, path: str) -> str:
    """Return the digest of what a tree's build files say of its dependencies.

    Settings of other tools in `pyproject.toml`, and its version, don't count. Cheap enough for
    every check of a lock; what a backend reads from elsewhere shows when the tree is built.
    """
    folder = root / path
    said: dict[str, object] = {"envbuild-tree-config": 1}
    try:
        import tomli

        table = tomli.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        project = table.get("project", {})
        said["project"] = {key: repr(project.get(key)) for key in _READ}
        said["build"] = repr(table.get("build-system"))
    except FileNotFoundError:
        said["project"] = None
    except (UnicodeDecodeError, ValueError, AttributeError) as error:
        said["project"] = str(error)
    for name in _OLD:
        place = folder / name
        digest = hashlib.sha256(place.read_bytes()).hexdigest() if place.is_file() else ""
        said[name] = digest
    return digest_json(said)
