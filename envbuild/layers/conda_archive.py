"""Opens a conda package, in either format: its `info/` files, and its content as one plain tar.

A package's content is one compressed tar, which can't be read at random. It is unpacked once,
into a temporary file without a name, and read from there by offset.
Formats: conda-build's "Conda package specification"; `.conda` is a zip of two zstandard tars.
"""

from __future__ import annotations

import bz2
import json
import lzma
import posixpath
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from envbuild.errors import ImageError
from envbuild.layers.archive import Spool
from envbuild.lock.model import CondaPackage

__all__ = ["CondaArchive", "open_conda"]

_STEP: Final = 1 << 20
_BROKEN: Final = (
    EOFError, OSError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError, ValueError,
    OverflowError, RecursionError, RuntimeError, struct.error, zlib.error, lzma.LZMAError,
)  # fmt: skip
"""What reading a bad archive raises, by way of zipfile, tarfile and what unpacks for them."""
_INFO: Final = ("files", "has_prefix", "index.json", "link.json", "paths.json")
_WINDOW: Final = 2**31
"""The biggest window that zstandard can be made to use; its default refuses `--ultra`'s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaArchive:
    """An unpacked package. The temporary file lives as long as anything refers to `content`.

    `info` holds the files of `info/` that say what is in the package; `members` are the content's
    by path, and their `offset_data` counts in `content`.
    """

    package: CondaPackage
    suffix: str
    size: int
    info: Mapping[str, bytes]
    members: Mapping[str, tarfile.TarInfo]
    content: Spool

    def bad(self, why: str) -> ImageError:
        return _bad(self.package, why)

    def read_json(self, name: str) -> dict[str, object] | None:
        """Return a file of `info/` that holds a JSON object, or None where there is none."""
        if name not in self.info:
            return None
        try:
            value = json.loads(self.info[name])
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self.bad(f"`info/{name}` is not a JSON object")
        return value


def _bad(package: CondaPackage, why: str) -> ImageError:
    return ImageError(
        "layer.bad-conda",
        f"`{package.filename}` is not a conda package that can be installed: {why}",
        hint="tell its channel, or ask for another build in the spec",
    )


def open_conda(archive: Path, package: CondaPackage) -> CondaArchive:
    """Unpack `archive` into a nameless file beside it (/tmp may be memory).

    Memory is constant, time linear. Raises `ImageError` `layer.bad-conda` for what is no conda
    package, and `EnvbuildError` `disk.full`.
    """
    size = archive.stat().st_size
    content = Spool(archive.parent, name=package.filename, packed=max(size, 1))
    try:
        with archive.open("rb") as file:
            is_zip = file.read(2) == b"PK"
        if is_zip:
            described = Spool(archive.parent, name=package.filename, packed=max(size, 1))
            _unpack_zip(archive, package, described, content)
        else:
            described = content
            _unpack_bz2(archive, content)
        members = _list_members(content)
        told = members if described is content else _list_members(described)
    except _BROKEN as error:
        raise _bad(package, f"it can't be read ({error})") from None
    content.packed = 0  # it may grow now: files that hold the prefix are added
    info = {
        name: described.read(member.offset_data, member.size)
        for name in _INFO
        if (member := told.get(f"info/{name}")) is not None and member.isreg()
    }
    return CondaArchive(
        package=package,
        suffix=".conda" if is_zip else ".tar.bz2",
        size=size,
        info=info,
        members=members,
        content=content,
    )


def _unpack_bz2(archive: Path, out: Spool) -> None:
    with bz2.open(archive, "rb") as file:
        shutil.copyfileobj(file, out, _STEP)


def _unpack_zip(archive: Path, package: CondaPackage, info: Spool, content: Spool) -> None:
    with zipfile.ZipFile(archive) as outer:
        for prefix, out in (("info-", info), ("pkg-", content)):
            found = [
                member
                for member in outer.infolist()
                if member.filename.startswith(prefix) and member.filename.endswith(".tar.zst")
            ]
            if len(found) != 1:
                raise _bad(package, f"it has {len(found)} `{prefix}*.tar.zst` instead of one")
            _unpack_zstandard(outer, found[0], out)


def _unpack_zstandard(outer: zipfile.ZipFile, member: zipfile.ZipInfo, out: Spool) -> None:
    import zstandard

    unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    with outer.open(member) as packed:
        try:
            unpacker.copy_stream(packed, cast("IO[bytes]", out), read_size=_STEP, write_size=_STEP)
        except zstandard.ZstdError as error:
            raise EOFError(str(error)) from None


def _list_members(tar: Spool) -> dict[str, tarfile.TarInfo]:
    """Return a tar's members by path, the last of each; each must be wholly there."""
    with tar.open() as file, tarfile.open(fileobj=file, mode="r:") as members:
        found = {posixpath.normpath(member.name): member for member in members}
    for member in found.values():
        if member.offset_data + (member.size if member.isreg() else 0) > tar.size:
            raise EOFError("it is cut short")
    return found
