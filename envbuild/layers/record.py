"""A wheel's RECORD: the files of an installed project with their hashes and sizes."""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import io
from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = ["Row", "decode_sha256", "make_row", "parse_record", "render_record"]


class Row(NamedTuple):
    """One row: a path (relative to site-packages once installed), `algorithm=hash`, bytes."""

    path: str
    digest: str = ""
    size: str = ""


def parse_record(data: bytes) -> Mapping[str, Row]:
    """Parse a RECORD into rows by path.

    Raises `ValueError` for what is not UTF-8, not CSV, or has a path twice with other content.
    """
    rows: dict[str, Row] = {}
    try:
        lines = list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from None
    for cells in lines:
        if not cells:
            continue
        path, digest, size = [*cells, "", ""][:3]
        row = Row(path, digest, size)
        if rows.setdefault(path, row) != row:
            raise ValueError(f"`{path}` is listed twice")
    return rows


def make_row(path: str, data: bytes) -> Row:
    """Return the row of a file that holds `data`."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return Row(path=path, digest=f"sha256={digest}", size=str(len(data)))


def render_record(rows: Iterable[Row]) -> bytes:
    """Return the rows as a RECORD, sorted by path."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(sorted(rows))
    return text.getvalue().encode()


def decode_sha256(row: Row) -> bytes:
    """Return the row's SHA-256 as 32 bytes, or nothing where it has another hash or none."""
    algorithm, _, text = row.digest.partition("=")
    if algorithm != "sha256":
        return b""
    try:
        raw = binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
    return raw if len(raw) == hashlib.sha256().digest_size else b""
