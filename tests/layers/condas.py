"""Writes small conda packages for tests, from tar members and `info/` files, right or wrong."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

from envbuild.lock.model import CondaPackage

__all__ = ["OLD", "Member", "describe_conda", "list_paths", "write_conda"]

OLD = "/home/builder/placehold_placehold_placehold_placehold_placehold_placehold"
"""The prefix that the packages were built with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A member of the package's tar: a file with `data`, a link to `link`, or a folder."""

    path: str
    data: bytes = b""
    mode: int = 0o644
    link: str = ""
    kind: bytes = tarfile.REGTYPE
    prefix_mode: str = ""

    @property
    def path_type(self) -> str:
        return {tarfile.SYMTYPE: "softlink", tarfile.DIRTYPE: "directory"}.get(
            self.kind, "hardlink"
        )


def list_paths(members: Sequence[Member]) -> dict[str, object]:
    """Return a paths.json of `members`, as conda-build writes it."""
    return {"paths_version": 1, "paths": [_list_path(m, members) for m in members]}


def _list_path(member: Member, members: Sequence[Member]) -> dict[str, object]:
    row: dict[str, object] = {"_path": member.path, "path_type": member.path_type}
    if member.kind == tarfile.DIRTYPE:
        return row
    data = member.data
    if member.kind == tarfile.LNKTYPE:
        data = b"".join(m.data for m in members if m.path == member.link)
    row |= {"sha256": hashlib.sha256(data).hexdigest(), "size_in_bytes": len(data)}
    if member.prefix_mode:
        row |= {"prefix_placeholder": OLD, "file_mode": member.prefix_mode}
    return row


def write_conda(
    folder: Path,
    members: Sequence[Member],
    *,
    name: str = "demo",
    suffix: str = ".conda",
    index: Mapping[str, object] | None = None,
    info: Mapping[str, bytes] | None = None,
) -> Path:
    """Write NAME-1.0-0 into `folder`; `index` adds to index.json, `info` to the other files.

    A file of `info` that is empty is left out.
    """
    described = {"name": name, "version": "1.0", "build": "0", "build_number": 0, "depends": []}
    files = {
        "index.json": json.dumps(described | {"subdir": "linux-64"} | dict(index or {})).encode(),
        "paths.json": json.dumps(list_paths(members)).encode(),
        **(info or {}),
    }
    about = [Member(path=f"info/{n}", data=data) for n, data in files.items() if data]
    path = folder / f"{name}-1.0-0{suffix}"
    if suffix == ".tar.bz2":
        path.write_bytes(bz2.compress(_make_tar([*about, *members])))
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as outer:
        outer.writestr("metadata.json", b'{"conda_pkg_format_version": 2}')
        outer.writestr(f"pkg-{name}-1.0-0.tar.zst", _compress(_make_tar(members)))
        outer.writestr(f"info-{name}-1.0-0.tar.zst", _compress(_make_tar(about)))
    return path


def _make_tar(members: Sequence[Member]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            info = tarfile.TarInfo(member.path)
            info.type, info.linkname, info.mode = member.kind, member.link, member.mode
            info.size = len(member.data)
            tar.addfile(info, io.BytesIO(member.data))
    return plain.getvalue()


def _compress(plain: bytes) -> bytes:
    # Two frames, as parallel compressors make.
    packer = zstandard.ZstdCompressor(level=3)
    half = len(plain) // 2
    return packer.compress(plain[:half]) + packer.compress(plain[half:])


def describe_conda(path: Path) -> CondaPackage:
    """Return what a lock says of the package at `path`."""
    stem = path.name.removesuffix(".conda").removesuffix(".tar.bz2")
    name, version, build = stem.rsplit("-", 2)
    return CondaPackage(
        name=name,
        version=version,
        build=build,
        url=f"https://pkgs.example.com/forge/noarch/{path.name}",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size=path.stat().st_size,
    )
