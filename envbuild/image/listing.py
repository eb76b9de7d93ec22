"""Notices packages of different layers that bring the same path; the upper layer's file counts.

Beside each layer that this machine makes lies a list of what its packages bring. It is only for
this report, and no image depends on it: layers that came from elsewhere have none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from envbuild.errors import ImageError
from envbuild.identity.recipe import Source
from envbuild.kit.files import write_atomic
from envbuild.layers.entry import Entry
from envbuild.lock.model import Artifact, CondaPackage

__all__ = ["check_overlaps", "list_files", "write_listing"]

_NAMED: Final = 3
"""Paths that a line of the report names; of more, the rest is counted."""

Files = Mapping[str, str]
"""What a package brings: path to a mark; two files with different marks differ."""


def list_files(entries: Iterable[Entry]) -> Files:
    """Return the marks of all files and links.

    Size and, where the archive has it, checksum: nothing is read for it. So two files of one size
    without a checksum pass for the same.
    """
    return {entry.path: _mark(entry) for entry in entries if entry.kind != "directory"}


def _mark(entry: Entry) -> str:
    if entry.kind != "file":
        return f"link {entry.link}"
    piece = entry.body() if entry.body is not None and entry.size else None
    checksum = f" {piece.crc32:08x}" if piece is not None and piece.deflated else ""
    return f"{entry.size}{checksum}"


def write_listing(
    folder: Path, key: str, packages: Iterable[tuple[Artifact | Source, Files]]
) -> None:
    """Keep what the packages, or the repository's files, of the layer `key` bring, in order."""
    named = [[_label(artifact), files] for artifact, files in packages]
    write_atomic(_file(folder, key), json.dumps(named))


def _label(artifact: Artifact | Source) -> str:
    if isinstance(artifact, Source):
        return f"{artifact.target} (source)"
    kind = "conda" if isinstance(artifact, CondaPackage) else "pip"
    return f"{artifact.name} ({kind})"


def _file(folder: Path, key: str) -> Path:
    return folder / f"{key.removeprefix('sha256:')}.json"


def check_overlaps(folder: Path, keys: Sequence[str]) -> tuple[str, ...]:
    """Return a line for each two packages that bring different files of one path.

    `keys` are those of an image's layers, lowest first. Raises `ImageError` `layer.clash` where
    one brings a folder and the other a file.
    """
    files: dict[str, tuple[str, str]] = {}
    folders: dict[str, str] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    for label, own in _read(folder, keys):
        for path in own.keys() & files.keys():
            other, mark = files[path]
            if mark != own[path] and other != label:
                shared.setdefault((other, label), []).append(path)
        above = {path.rpartition("/")[0] for path in own}
        _check_folders(label, own, above, files, folders)
        folders |= dict.fromkeys(above, label)
        files |= {path: (label, mark) for path, mark in own.items()}
    return tuple(_say(*pair, paths) for pair, paths in sorted(shared.items()))


def _read(folder: Path, keys: Iterable[str]) -> Iterator[tuple[str, Files]]:
    for key in keys:
        try:
            for label, files in json.loads(_file(folder, key).read_bytes()):
                yield str(label), files
        except (FileNotFoundError, ValueError, TypeError):
            continue


def _check_folders(
    label: str,
    own: Files,
    above: set[str],
    files: Mapping[str, tuple[str, str]],
    folders: Mapping[str, str],
) -> None:
    # A link may lead to the folder that it stands for, as `lib64` does: then nothing clashes.
    for path in sorted((own.keys() & folders.keys()) | (above & files.keys())):
        mark = own[path] if path in own else files[path][1]
        if not mark.startswith("link "):
            other = folders.get(path) or files[path][0]
            raise ImageError(
                "layer.clash",
                f"`{path}` is a folder for one of `{other}` and `{label}`, "
                "and a file or a link for the other",
                hint="ask for another version of one of them in the spec, or leave one out",
            )


def _say(first: str, second: str, paths: list[str]) -> str:
    named = ", ".join(f"`{path}`" for path in sorted(paths)[:_NAMED])
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return f"{first} and {second} both bring {named}{more}: that of {second} counts"
