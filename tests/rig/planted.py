"""Secrets that a test plants, and a search for them in all that a run leaves or shows."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import secrets
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from tests.rig.processes import list_commands

__all__ = ["Planted", "watched_commands"]

_LOOK_SECONDS: Final = 0.01


@dataclass(kw_only=True, slots=True)
class Planted:
    """Secrets by name, each with characters that URLs encode; `found` lists where one turned up."""

    values: dict[str, str] = field(default_factory=dict)

    def plant(self, name: str) -> str:
        """Return a new secret, which no other test has."""
        self.values[name] = f"plant-{secrets.token_hex(8)}@:/%é"
        return self.values[name]

    def search_text(self, data: bytes, where: str) -> list[str]:
        """Return `name in where` for each secret in `data`: as it is, quoted, in base64."""
        return [
            f"{name} in {where}"
            for name, value in self.values.items()
            if any(form in data for form in _spell(value))
        ]

    def search_folder(self, folder: Path, *, skip: frozenset[Path] = frozenset()) -> list[str]:
        """Return the same for all files below `folder`, with names and what is packed in them."""
        found: list[str] = []
        for path in sorted(folder.rglob("*")):
            found += self.search_text(str(path).encode(), f"the name {path}")
            if path.is_file() and not path.is_symlink() and path not in skip:
                for data in _unpack(path.read_bytes()):
                    found += self.search_text(data, str(path))
        return found


def _spell(value: str) -> set[bytes]:
    """Return the ways a secret may be written; its unique middle is in all that encode a part."""
    core = value.partition("@")[0]
    # base64 of a longer text has one of three spellings of what is inside it.
    inside = {base64.b64encode(b"x" * shift + core.encode())[4:-4] for shift in range(3)}
    return {core.encode(), quote(value, safe="").encode(), *inside}


def _unpack(data: bytes) -> Iterator[bytes]:
    """Yield `data` and what it holds, where it is gzip, zstd or a zip."""
    yield data
    if data.startswith(b"\x1f\x8b"):
        with contextlib.suppress(EOFError, OSError, zlib.error):
            yield gzip.decompress(data)
    elif data.startswith(b"\x28\xb5\x2f\xfd"):
        import zstandard

        yield zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    elif data.startswith(b"PK"):
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                yield from _unpack(archive.read(member))


@contextlib.contextmanager
def watched_commands() -> Iterator[set[bytes]]:
    """Give the command lines that anybody on this machine can see while the block runs."""
    seen: set[bytes] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_LOOK_SECONDS):
            seen.update(command for _, command in list_commands())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()
