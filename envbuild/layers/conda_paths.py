"""Which paths a conda package installs, and what its files hold of the prefix it was built with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from envbuild.layers.conda_archive import CondaArchive

__all__ = ["CondaPath", "list_paths"]

_OLD_PLACEHOLDER: Final = "/opt/anaconda1" + "anaconda2anaconda3"
"""What packages were built with before `has_prefix` said so. In two halves, for it is replaced."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaPath:
    """A path below the prefix, as the package has it.

    `placeholder` is the prefix that the file was built with, empty where it holds none, and
    `file_mode` how it is replaced; `sha256` (hex) and `size` are the packed file's, where known.
    """

    path: str
    folder: bool = False
    placeholder: str = ""
    file_mode: str = ""
    sha256: str = ""
    size: int | None = None


def list_paths(archive: CondaArchive) -> tuple[CondaPath, ...]:
    """Return the paths in paths.json, or in the files that packages had before it, sorted.

    Raises `ImageError("layer.bad-conda")` where they can't be read, or a path leaves the prefix.
    """
    described = archive.read_json("paths.json")
    try:
        paths = _parse_old(archive) if described is None else _parse_paths(described)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise archive.bad(f"its list of paths can't be read ({error})") from None
    for entry in paths:
        if entry.path.startswith("/") or ".." in entry.path.split("/") or not entry.path:
            raise archive.bad(f"`{entry.path}` would be installed outside of the environment")
        if entry.placeholder and entry.file_mode not in {"text", "binary"}:
            raise archive.bad(f"`{entry.path}` holds a prefix, and not as text nor binary")
    return tuple(sorted(paths, key=lambda entry: entry.path))


def _parse_paths(described: Mapping[str, object]) -> list[CondaPath]:
    rows = described["paths"]
    if not isinstance(rows, list):
        raise TypeError("`paths` is not a list")
    return [_parse_path(row) for row in rows]


def _parse_path(row: Mapping[str, object]) -> CondaPath:
    size = row.get("size_in_bytes")
    return CondaPath(
        path=str(row["_path"]),
        folder=row.get("path_type") == "directory",
        placeholder=str(row.get("prefix_placeholder") or ""),
        file_mode=str(row.get("file_mode") or ""),
        sha256=str(row.get("sha256") or ""),
        size=size if isinstance(size, int) else None,
    )


def _parse_old(archive: CondaArchive) -> list[CondaPath]:
    """Parse `info/files`, a path a line, and `info/has_prefix`."""
    prefixes = dict(_parse_has_prefix(archive.info.get("has_prefix", b"").decode()))
    paths = []
    for line in archive.info["files"].decode().splitlines():
        path = line.strip()
        if path and not path.startswith("#"):
            placeholder, mode = prefixes.get(path, ("", ""))
            paths.append(CondaPath(path=path, placeholder=placeholder, file_mode=mode))
    return paths


def _parse_has_prefix(text: str) -> list[tuple[str, tuple[str, str]]]:
    """Parse lines of `PLACEHOLDER MODE PATH`, or of a path alone, each part perhaps quoted."""
    rows = []
    for line in text.splitlines():
        parts = [part.strip("\"'") for part in shlex.split(line, posix=False)]
        if len(parts) == 1:
            rows.append((parts[0], (_OLD_PLACEHOLDER, "text")))
        elif len(parts) == 3:
            rows.append((parts[2], (parts[0], parts[1])))
        elif parts:
            raise ValueError(f"`{line}` in has_prefix")
    return rows
