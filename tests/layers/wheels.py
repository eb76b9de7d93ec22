"""Writes small wheels for tests, right or wrong in one respect."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from envbuild.lock.model import Wheel

__all__ = ["INFO", "describe", "make_record", "write_wheel"]

INFO = "demo-1.0.dist-info"
_METADATA = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
_WHEEL = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def make_record(files: Mapping[str, bytes]) -> bytes:
    """Return a RECORD of `files`, and of itself."""
    text = io.StringIO()
    writer = csv.writer(text)
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow((name, f"sha256={digest}", len(data)))
    writer.writerow((f"{INFO}/RECORD", "", ""))
    return text.getvalue().encode()


def write_wheel(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    modes: Mapping[str, int] | None = None,
    stored: bool = False,
    record: bytes | None = None,
    without: tuple[str, ...] = (),
) -> Path:
    """Write `demo-1.0-py3-none-any.whl` with `files` (and METADATA, WHEEL, RECORD) into `folder`.

    `modes` are the zip's Unix modes, 0644 by default; files named in `without` are left out.
    """
    every = {f"{INFO}/METADATA": _METADATA, f"{INFO}/WHEEL": _WHEEL, **files}
    every = {name: data for name, data in every.items() if name not in without}
    if f"{INFO}/RECORD" not in without:
        every[f"{INFO}/RECORD"] = make_record(every) if record is None else record
    path = folder / "demo-1.0-py3-none-any.whl"
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in every.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            info.external_attr = (0o100000 | (modes or {}).get(name, 0o644)) << 16
            archive.writestr(info, data)
    return path


def describe(path: Path) -> Wheel:
    """Return what a lock says of the wheel at `path`."""
    name, version, *_ = path.name.split("-")
    return Wheel(
        name=name,
        version=version,
        filename=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size=path.stat().st_size,
    )
