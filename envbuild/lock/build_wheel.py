"""Puts a wheel that was built here into one canonical form, and says what is in it.

The form: members sorted, the `.dist-info` folder last and RECORD at the very end, 1980 as time,
modes 0644 or 0755, RECORD written anew, and nothing compressed: so no byte depends on a zlib, and
the layer's own encoder packs it. Two builds that gave the same files give the same wheel.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import stat
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Final

from envbuild.errors import LockError
from envbuild.kit.canonical import digest_file, digest_json
from envbuild.lock.model import Wheel
from envbuild.lock.names import normalise_name

__all__ = ["Contents", "find_needed_glibc", "normalise_wheel", "read_contents"]

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_SIGNATURES: Final = ("RECORD.jws", "RECORD.p7s")
_GLIBC: Final = re.compile(rb"GLIBC_2\.(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """A wheel with what its METADATA says; `needs` is the digest of what it asks of others."""

    wheel: Wheel
    metadata: bytes
    extras: tuple[str, ...]
    needs: str


def normalise_wheel(built: Path, folder: Path) -> Path:
    """Write the canonical form of the wheel `built` into `folder`, under the same name."""
    target = folder / built.name
    with zipfile.ZipFile(built) as source:
        infos = {info.filename: info for info in source.infolist() if not info.is_dir()}
        info_folder = _find_info(list(infos), built.name)
        record = f"{info_folder}/RECORD"
        dropped = {record, *(f"{info_folder}/{name}" for name in _SIGNATURES)}
        names = sorted(
            infos.keys() - dropped, key=lambda name: (name.startswith(f"{info_folder}/"), name)
        )
        rows: list[tuple[str, str, str]] = []
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as out:
            for name in names:
                data = source.read(name)
                rows.append((name, f"sha256={_hash(data)}", str(len(data))))
                _write(out, name, data, executable=_is_executable(infos[name]))
            rows.append((record, "", ""))
            _write(out, record, _render_record(rows), executable=False)
    return target


def _write(out: zipfile.ZipFile, name: str, data: bytes, *, executable: bool) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system = 3
    info.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
    out.writestr(info, data)


def _is_executable(info: zipfile.ZipInfo) -> bool:
    return bool((info.external_attr >> 16) & 0o100)


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def _render_record(rows: list[tuple[str, str, str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def _find_info(names: list[str], filename: str) -> str:
    folders = {name.partition("/")[0] for name in names if "/" in name}
    found = sorted(folder for folder in folders if folder.endswith(".dist-info"))
    if len(found) != 1 or f"{found[0]}/METADATA" not in names:
        raise _bad(filename, "it has no `.dist-info` folder with METADATA")
    return found[0]


def _bad(filename: str, why: str) -> LockError:
    return LockError(
        "pip.bad-wheel",
        f"`{filename}` is not a wheel that can be installed: {why}",
        hint="build it anew, or ask whoever did",
    )


def read_contents(path: Path) -> Contents:
    """Return what the wheel `path` is and says. Raises `LockError` `pip.bad-wheel`."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as archive:
            info = _find_info(archive.namelist(), path.name)
            metadata = archive.read(f"{info}/METADATA")
    except InvalidWheelFilename:
        raise _bad(path.name, "its name is not that of a wheel") from None
    except zipfile.BadZipFile as error:
        raise _bad(path.name, f"it can't be read as a zip ({error})") from None
    said = BytesParser().parsebytes(metadata, headersonly=True)
    name, version = str(said.get("Name", "")), str(said.get("Version", ""))
    stem = path.name.split("-")[0]
    if not version or normalise_name(stem) != normalise_name(name):
        raise _bad(path.name, f"its METADATA is of `{name}` `{version}`")
    return Contents(
        wheel=Wheel(
            name=normalise_name(name),
            version=version,
            filename=path.name,
            sha256=digest_file(path).removeprefix("sha256:"),
            size=path.stat().st_size,
        ),
        metadata=metadata,
        extras=tuple(sorted({normalise_name(e) for e in said.get_all("Provides-Extra", [])})),
        needs=_digest_needs(said),
    )


def _digest_needs(said: Message) -> str:
    """Return the digest of all that a resolver reads in METADATA, apart from the version."""
    return digest_json(
        {
            "name": normalise_name(str(said.get("Name", ""))),
            "python": str(said.get("Requires-Python", "")),
            "requires": sorted(" ".join(str(r).split()) for r in said.get_all("Requires-Dist", [])),
            "extras": sorted(map(str, said.get_all("Provides-Extra", []))),
        }
    )


def find_needed_glibc(path: Path) -> int:
    """Return N of the newest glibc 2.N that a binary of the wheel names a symbol of; 0 for none.

    The names of symbol versions stand in an ELF file as plain text (`GLIBC_2.34`).
    """
    newest = 0
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            data = archive.read(info)
            if data.startswith(b"\x7fELF"):
                newest = max([newest, *(int(n) for n in _GLIBC.findall(data))])
    return newest
