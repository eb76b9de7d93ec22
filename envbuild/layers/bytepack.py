"""Keeps the byte code of one artifact in one file, whole or not believed.

Format: the contents one after another, then an index (JSON: the label, and of each file its path,
size and CRC-32, in the order of the contents), the index's size and CRC-32, and `_MAGIC`, which has
the format's version. What was cut short has no end; what was changed has other checksums.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final

from isal.isal_zlib import crc32

from envbuild.kit.files import atomic_writer
from envbuild.layers.archive import Archive, body_of_stretch
from envbuild.layers.entry import Entry

__all__ = ["read_pack", "write_pack"]

_MAGIC: Final = b"envbuild-pyc-1\n\0"
_END: Final = struct.Struct(f"<II{len(_MAGIC)}s")
_STEP: Final = 1 << 20

_Row = tuple[str, int, int]
"""Path, size in bytes, CRC-32."""


def write_pack(pack: Path, files: Iterable[tuple[str, bytes]], *, label: str) -> tuple[Entry, ...]:
    """Write `files` (path in the layer, content) to `pack` as they come, and return their entries.

    `label` says what they were made of. The file appears whole or not at all.
    """
    rows: list[_Row] = []
    with atomic_writer(pack) as out:
        for path, data in files:
            out.write(data)
            rows.append((path, len(data), crc32(data)))
        index = json.dumps({"label": label, "files": rows}).encode()
        out.write(index + _END.pack(len(index), crc32(index), _MAGIC))
    return _make_entries(pack, rows)


def read_pack(pack: Path, *, label: str) -> tuple[Entry, ...] | None:
    """Return the entries in `pack`, all of it checked; None where it is absent, damaged or cut.

    None, too, where it has another label: then it was made of something else. The entries read
    from the file when their bodies are read.
    """
    try:
        with pack.open("rb") as file:
            rows = _read_index(file, label)
            return _make_entries(pack, rows) if _is_whole(file, rows) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, struct.error):
        return None


def _read_index(file: IO[bytes], label: str) -> list[_Row]:
    end = file.seek(0, os.SEEK_END) - _END.size
    file.seek(max(end, 0))
    size, checksum, magic = _END.unpack(file.read())
    file.seek(max(end - size, 0))
    index = file.read(size)
    if magic != _MAGIC or crc32(index) != checksum:
        raise ValueError("no pack")
    said = json.loads(index)
    rows = [(str(path), int(length), int(check)) for path, length, check in said["files"]]
    if said["label"] != label or sum(length for _, length, _ in rows) != end - size:
        raise ValueError("another pack")
    return rows


def _is_whole(file: IO[bytes], rows: Iterable[_Row]) -> bool:
    file.seek(0)
    return all(_sum_up(file, size) == checksum for _, size, checksum in rows)


def _sum_up(file: IO[bytes], size: int) -> int:
    checksum = 0
    while size > 0:
        data = file.read(min(size, _STEP))
        if not data:
            return -1
        checksum = crc32(data, checksum)
        size -= len(data)
    return checksum


def _make_entries(pack: Path, rows: Iterable[_Row]) -> tuple[Entry, ...]:
    archive, offset = Archive(pack), 0
    entries: list[Entry] = []
    for path, size, _ in rows:
        body = body_of_stretch(archive, offset, size)
        entries.append(Entry(path=path, kind="file", size=size, body=body))
        offset += size
    return tuple(sorted(entries, key=lambda entry: entry.path))
