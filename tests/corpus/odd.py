"""Writes wheels that are allowed and seldom seen, for what the corpus' wheels lack."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["OddWheel", "list_odd_wheels", "write_odd_wheel"]


@dataclass(frozen=True, kw_only=True, slots=True)
class OddWheel:
    """A wheel of a project `name`: `files` by their place in it, and what is odd about it.

    `types` are Unix modes with the type's bits, 0o100644 by default; 0 is what Windows leaves.
    """

    name: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    requires: Sequence[str] = ()
    tag: str = "py3-none-any"
    wheel: str = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
    metadata: str = "2.1"
    types: Mapping[str, int] = field(default_factory=dict)
    digest: str = "sha256"
    unlisted: tuple[str, ...] = ()
    stored: bool = False
    streamed: bool = False
    dateless: bool = False
    before: bytes = b""
    folders: tuple[str, ...] = ()

    @property
    def info(self) -> str:
        return f"{self.name.replace('-', '_')}-1.0.dist-info"


def write_odd_wheel(folder: Path, odd: OddWheel) -> Path:
    """Write the wheel into `folder` and return its path."""
    needs = "".join(f"Requires-Dist: {wish}\n" for wish in odd.requires)
    papers = f"Metadata-Version: {odd.metadata}\nName: {odd.name}\nVersion: 1.0\n{needs}"
    tag = odd.tag.split("-", 1)[1] if odd.tag[0].isdigit() else odd.tag
    files = {
        **odd.files,
        f"{odd.info}/METADATA": papers.encode(),
        f"{odd.info}/WHEEL": f"{odd.wheel}Tag: {tag}\n".encode(),
    }
    files[f"{odd.info}/RECORD"] = _make_record(odd, files)
    data = bytearray(odd.before + _make_zip(odd, files))
    if odd.dateless:
        _forget_dates(data)
    path = folder / f"{odd.name.replace('-', '_')}-1.0-{odd.tag}.whl"
    path.write_bytes(data)
    return path


def _make_record(odd: OddWheel, files: Mapping[str, bytes]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    for name, data in files.items():
        if name not in odd.unlisted:
            raw = hashlib.new(odd.digest, data).digest()
            digest = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
            writer.writerow((name, f"{odd.digest}={digest}", len(data)))
    writer.writerow((f"{odd.info}/RECORD", "", ""))
    return text.getvalue().encode()


class _Pipe(io.BytesIO):
    """What can't be sought in, so that a zip's sizes must come after its members."""

    def seekable(self) -> bool:
        return False

    def seek(self, *args: object) -> int:
        raise io.UnsupportedOperation

    tell = seek


def _make_zip(odd: OddWheel, files: Mapping[str, bytes]) -> bytes:
    out = _Pipe() if odd.streamed else io.BytesIO()
    method = zipfile.ZIP_STORED if odd.stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.comment = b"a comment of the zip"
        for name in odd.folders:
            archive.writestr(zipfile.ZipInfo(name), b"")
        for name, data in files.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            info.external_attr = odd.types.get(name, 0o100644) << 16
            with archive.open(info, "w", force_zip64=odd.streamed) as member:
                member.write(data)
    return out.getvalue()


def _forget_dates(data: bytearray) -> None:
    """Set every date to zero: month 0 of 1980, which no calendar has and some tools write."""
    for magic, offset in ((b"PK\3\4", 10), (b"PK\1\2", 12)):
        start = data.find(magic)
        while start >= 0:
            struct.pack_into("<HH", data, start + offset, 0, 0)
            start = data.find(magic, start + 4)


def list_odd_wheels() -> Iterator[OddWheel]:
    """Yield one wheel for each oddity."""
    yield OddWheel(
        name="odd-names",
        files={
            "odd_names/grüße.py": b"HELLO = 1\n",
            "odd_names/日本語/__init__.py": b"",
            "odd_names/with space, and comma.txt": b"1",
            "odd_names/Readme.txt": b"upper",
            "odd_names/README.TXT": b"lower",
            'odd_names/quo"te.txt': b"2",
            "odd_names/back\\slash.txt": b"3",
            "odd_names/" + "long" * 60 + ".txt": b"4",
            "odd_names/deep/" + "folder/" * 20 + "end.txt": b"5",
        },
    )
    yield OddWheel(
        name="odd-modes",
        files=dict.fromkeys([f"odd_modes/{n}" for n in "abcdefg"], b"#!/bin/sh\n"),
        types={
            "odd_modes/a": 0o100755, "odd_modes/b": 0o100600, "odd_modes/c": 0o104711,
            "odd_modes/d": 0, "odd_modes/e": 0o755, "odd_modes/f": 0o120777,
            "odd_modes/g": 0o100010,
        },
    )  # fmt: skip
    scripts = {
        "plain": b"#!python\nprint(1)\n", "windowed": b"#!pythonw\nprint(1)\n",
        "options": b"#!python -E -s\nprint(1)\n", "named": b"#!python3.11\nprint(1)\n",
        "windows": b"#!python\r\nprint(1)\r\n", "open": b"#!python",
        "other": b"#!/usr/bin/env python\nprint(1)\n", "binary": b"\x7fELF\0\0#!python\n",
        "empty": b"", "late": b"\n#!python\n",
    }  # fmt: skip
    folder = "odd_data-1.0.data"
    yield OddWheel(
        name="odd-data",
        files={
            **{f"{folder}/scripts/odd-{name}": data for name, data in scripts.items()},
            f"{folder}/headers/odd.h": b"int odd;\n",
            f"{folder}/headers/deep/odd.h": b"int deep;\n",
            f"{folder}/data/etc/odd/odd.conf": b"x = 1\n",
            f"{folder}/data/bin/odd-from-data": b"#!python\n",
            f"{folder}/purelib/odd_data_pure.py": b"",
            f"{folder}/platlib/odd_data_plat.py": b"",
            "odd_data.pth": b"import sys\n",
        },
        types={f"{folder}/scripts/odd-{name}": 0o100755 for name in scripts if name != "late"},
    )
    yield OddWheel(name="odd-stored", files={"odd_stored.py": b"A = 1\n" * 999}, stored=True)
    yield OddWheel(name="odd-streamed", files={"odd_streamed.py": b"A\n" * 99}, streamed=True)
    yield OddWheel(name="odd-dates", files={"odd_dates.py": b"A = 1\n"}, dateless=True)
    yield OddWheel(name="odd-front", files={"odd_front.py": b"A = 1\n"}, before=b"#!/bin/sh\n" * 9)
    yield OddWheel(
        name="odd-folders", files={"odd_folders/a.py": b""},
        folders=("odd_folders/", "odd_folders/nothing/", "odd_folders-1.0.dist-info/"),
    )  # fmt: skip
    yield OddWheel(name="odd-tag", files={"odd_tag.py": b""}, tag="1-py2.py3-none-any")
    yield OddWheel(
        name="odd-abi", files={"odd_abi.py": b""}, tag="2local-cp38-abi3-manylinux1_x86_64",
        wheel="Wheel-Version: 1.9\nRoot-Is-Purelib: false\nBuild: 2local\n",
    )  # fmt: skip
    info = "odd_papers-1.0.dist-info"
    signatures = {f"{info}/RECORD.jws": b"{}", f"{info}/RECORD.p7s": b"\0\1"}
    yield OddWheel(
        name="odd-papers", metadata="1.0", digest="sha512",
        files={
            "odd_papers.py": b"", "odd_unlisted.py": b"1", **signatures,
            f"{info}/entry_points.txt": _POINTS.encode(), f"{info}/INSTALLER": b"somebody\n",
            f"{info}/REQUESTED": b"", f"{info}/top_level.txt": b"odd_papers\n",
            f"{info}/licenses/LICENSE": b"free\n", f"{info}/sboms/one.json": b"{}",
        },
        unlisted=("odd_unlisted.py", *signatures),
    )  # fmt: skip


_POINTS = """\
# a comment
[console_scripts]
odd-papers = odd_papers:main
odd.dotted = odd_papers.deep:Class.method
odd_extra = odd_papers:main [extra,more]
[gui_scripts]
odd-gui=odd_papers:show
[other.group]
x = odd_papers
"""
