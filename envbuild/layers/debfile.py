"""Opens a `.deb`: its control files in memory, its data as members of a tar that can be re-read.

Format: deb(5), an `ar` archive of `debian-binary`, `control.tar*` and `data.tar*`. A compressed
tar can be read only from front to back, so it is unpacked once: small ones into memory, others
into a nameless file beside the package that is gone when nothing refers to it any more.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from envbuild.errors import ImageError
from envbuild.layers.archive import Archive, Spool, body_of_bytes, body_of_stretch
from envbuild.layers.entry import Body

__all__ = ["DebFile", "bad_deb", "open_deb"]

_MAGIC: Final = b"!<arch>\n"
_HEADER: Final = 60
_STEP: Final = 256 << 10
_IN_MEMORY: Final = 512 << 10
"""Bytes of tar up to which it stays in memory; most packages are smaller than that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DebFile:
    """A package's control files by name (`control`, `md5sums`, ...) and the members of its data."""

    control: dict[str, bytes]
    members: tuple[tarfile.TarInfo, ...]
    content: bytes | Archive
    """The whole plain tar that `members` are in."""

    def body(self, member: tarfile.TarInfo) -> Body:
        """Return a body that gives the content of a regular file's `member`."""
        start = member.offset_data
        if isinstance(self.content, bytes):
            return body_of_bytes(self.content[start : start + member.size])
        return body_of_stretch(self.content, start, member.size)

    def read(self, member: tarfile.TarInfo) -> bytes:
        """Return the whole content of a small file."""
        return b"".join(self.body(member)().data)


def bad_deb(name: str, why: str) -> ImageError:
    """Return the error for a package that can't be unpacked."""
    return ImageError(
        "layer.bad-deb",
        f"`{name}` is not a Debian package that can be unpacked: {why}",
        hint="if the file in the cache was damaged, delete it and build again; else tell its "
        "publisher",
    )


def open_deb(archive: Path) -> DebFile:
    """Open a `.deb`; raises `ImageError` `layer.bad-deb` for what is none."""
    control: dict[str, bytes] | None = None
    try:
        with archive.open("rb") as file:
            for name, section in _read_sections(file, archive.name):
                if name.startswith("control.tar"):
                    control = _read_control(_decompress(name, section, archive.name))
                elif name.startswith("data.tar"):
                    if control is None:
                        raise bad_deb(archive.name, "its data comes before its control files")
                    stream = _decompress(name, section, archive.name)
                    content, members = _unpack(stream, archive)
                    return DebFile(control=control, members=members, content=content)
    except _damages() as error:
        raise bad_deb(archive.name, str(error) or "it is cut short") from error
    raise bad_deb(archive.name, "it has no `data.tar`")


def _damages() -> tuple[type[Exception], ...]:
    import lzma
    import zlib

    import zstandard

    return (tarfile.TarError, lzma.LZMAError, zlib.error, zstandard.ZstdError, EOFError, ValueError)


def _read_sections(file: IO[bytes], name: str) -> Iterator[tuple[str, _Section]]:
    """Yield the members of an `ar` archive, each with a reader of its bytes."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise bad_deb(name, "it doesn't begin as an `ar` archive does")
    place = len(_MAGIC)
    while header := file.read(_HEADER):
        if len(header) != _HEADER or header[58:] != b"`\n":
            raise bad_deb(name, "a header of its `ar` archive is broken")
        title, size = header[:16].decode("ascii").rstrip(" /"), int(header[48:58])
        place += _HEADER
        yield title, _Section(file, size)
        place += size + size % 2
        file.seek(place)


class _Section(io.RawIOBase):
    """The next `size` bytes of a file; the file itself stays open."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__()
        self._file = file
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer))
        data = self._file.read(min(len(view), self._left))
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)


def _decompress(title: str, section: _Section, name: str) -> IO[bytes]:
    """Return a reader of a member's plain content, by the suffix of its name."""
    import gzip
    import lzma

    import zstandard

    raw = io.BufferedReader(section, _STEP)
    kind = title.partition(".tar")[2]
    if kind == ".xz":
        return cast("IO[bytes]", lzma.open(raw))
    if kind == ".zst":
        return cast("IO[bytes]", zstandard.ZstdDecompressor().stream_reader(raw))
    if kind == ".gz":
        return cast("IO[bytes]", gzip.open(raw))
    if not kind:
        return raw
    raise bad_deb(name, f"`{title}` is compressed in a way that isn't known here")


def _read_control(stream: IO[bytes]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            if file is not None:
                found[member.name.removeprefix("./")] = file.read()
    return found


def _unpack(
    stream: IO[bytes], archive: Path
) -> tuple[bytes | Archive, tuple[tarfile.TarInfo, ...]]:
    """Return the plain tar that `stream` gives, and its members."""
    with stream:
        head = _read_up_to(stream, _IN_MEMORY)
        if len(head) < _IN_MEMORY:
            return head, _list_members(io.BytesIO(head))
        spool = _open_spool(archive)
        spool.write(head)
        while data := stream.read(_STEP):
            spool.write(data)
    with spool.open() as file:
        return spool, _list_members(file)


def _read_up_to(stream: IO[bytes], size: int) -> bytes:
    # One read may give less than there is.
    found = bytearray()
    while len(found) < size and (data := stream.read(size - len(found))):
        found += data
    return bytes(found)


def _open_spool(archive: Path) -> Spool:
    # Beside the package, because /tmp may be memory; elsewhere if that folder is read-only.
    try:
        return Spool(archive.parent, name=archive.name)
    except PermissionError:
        return Spool(None, name=archive.name)


def _list_members(file: IO[bytes]) -> tuple[tarfile.TarInfo, ...]:
    with tarfile.open(fileobj=file, mode="r:") as tar:
        return tuple(tar)
