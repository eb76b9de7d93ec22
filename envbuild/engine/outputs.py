"""Fetch files out of a container, running or stopped."""

from __future__ import annotations

import contextlib
import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Final

from envbuild.engine.archive import unpack_tar

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["Collected", "PieceStream", "fetch_output", "open_archive", "read_small_file"]

_PIECE: Final = 1 << 20
_SMALL: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """If an output was there, and what of it had to be left out."""

    found: bool
    notes: tuple[str, ...] = ()


class PieceStream(io.RawIOBase):
    """Pieces of bytes as they come, as a file to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # as RawIOBase documents
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


@contextlib.contextmanager
def open_archive(client: DockerClient, container: str, path: str) -> Iterator[IO[bytes]]:
    """Give the tar of the file or folder `path`, to read once from its beginning.

    Raises the SDK's `NotFound` where there is none.
    """
    pieces, _ = client.api.get_archive(container, path, chunk_size=_PIECE)
    with io.BufferedReader(PieceStream(iter(pieces)), _PIECE) as stream:
        yield stream
        while stream.read(_PIECE):  # to its end, so that the connection can be used again
            pass


def fetch_output(client: DockerClient, container: str, path: str, target: Path) -> Collected:
    """Fetch the file or folder `path` of a container as `target`, whole or not at all.

    A missing path is no error, and neither is a `target` that is there already (it stays).
    """
    from docker.errors import NotFound

    if target.exists() or target.is_symlink():
        return Collected(
            found=False, notes=(f"`{path}` was left out: `{target}` is there already",)
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        try:
            pieces, _ = client.api.get_archive(container, path, chunk_size=_PIECE)
        except NotFound as error:
            if str(error.explanation).startswith("No such container: "):
                raise
            return Collected(found=False)
        notes = _unpack(pieces, work)
        return _move(work, PurePosixPath(path).name, target, notes)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _unpack(pieces: Iterator[bytes], work: Path) -> tuple[str, ...]:
    with io.BufferedReader(PieceStream(iter(pieces)), _PIECE) as stream:
        try:
            return unpack_tar(stream, work)
        except tarfile.TarError as error:
            return (f"the rest was left out: the engine's archive is broken ({error})",)


def _move(work: Path, name: str, target: Path, notes: tuple[str, ...]) -> Collected:
    made = work / name
    if not made.exists():
        return Collected(found=False, notes=notes)
    made.rename(target)
    return Collected(found=True, notes=notes)


def read_small_file(client: DockerClient, container: str, path: str) -> bytes | None:
    """Return the content of a file of at most 1 MiB; None if there is none."""
    from docker.errors import NotFound

    try:
        pieces, _ = client.api.get_archive(container, path)
    except NotFound:
        return None
    with io.BytesIO(b"".join(pieces)) as stream, tarfile.open(fileobj=stream) as tar:
        member = tar.next()
        source = tar.extractfile(member) if member is not None and member.isreg() else None
        return source.read(_SMALL) if source is not None else None
