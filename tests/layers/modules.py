"""Modules to compile for tests, and the Python that compiles them: the one that runs the tests."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from envbuild.layers.archive import body_of_bytes
from envbuild.layers.entry import Entry

__all__ = ["MINOR", "SITE", "TAG", "VERSION", "contents_of", "make_file", "read_entry"]

VERSION = platform.python_version()
MINOR = ".".join(VERSION.split(".")[:2])
TAG = f"cpython-{MINOR.replace('.', '')}"
SITE = f"opt/env/lib/python{MINOR}/site-packages"


def make_file(path: str, data: bytes = b"x = 1\n") -> Entry:
    return Entry(path=path, kind="file", size=len(data), body=body_of_bytes(data))


def read_entry(entry: Entry) -> bytes:
    assert entry.body is not None
    return b"".join(entry.body().data)


def contents_of(entries: Sequence[Entry]) -> dict[str, bytes]:
    return {entry.path: read_entry(entry) for entry in entries}
