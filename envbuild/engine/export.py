"""Takes an image out of the engine: its configuration, and each layer as a plain tar.

Format: the archive of `docker save`. Up to Docker 24 it holds `ID/layer.tar` for each layer, since
then `blobs/sha256/HEX`; in both, `manifest.json` says which is which. Where the engine keeps its
images in containerd, layers are as they were pulled, compressed or not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import posixpath
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from envbuild.engine.client import Engine, explained
from envbuild.errors import EngineError
from envbuild.kit.disk import disk_errors

__all__ = ["ZSTD", "ExportedImage", "ExportedLayer", "export_image", "unpack_pieces"]

_PIECE: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedLayer:
    """One layer: the digest of its plain tar, and where it is in the archive."""

    diff_id: str
    file: IO[bytes]
    offset: int
    size: int

    def pieces(self) -> Iterator[bytes]:
        """Yield the plain tar; raises `engine.bad-export` at the end if it isn't `diff_id`'s."""
        digest = hashlib.sha256()
        for piece in unpack_pieces(self._read()):
            digest.update(piece)
            yield piece
        if self.diff_id != f"sha256:{digest.hexdigest()}":
            raise _bad(f"a layer is not `{self.diff_id}`")

    def _read(self) -> Iterator[bytes]:
        place, left = self.offset, self.size
        while left:
            # Not `seek` and `read`: several threads may read layers at once.
            piece = os.pread(self.file.fileno(), min(_PIECE, left), place)
            if not piece:
                raise _bad("it is cut short")
            place, left = place + len(piece), left - len(piece)
            yield piece


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedImage:
    """An image: its ID in the engine, its configuration as a JSON value, its layers upwards."""

    image_id: str
    config: Mapping[str, Any]
    layers: tuple[ExportedLayer, ...]


@contextlib.contextmanager
def export_image(engine: Engine, image_id: str, *, work: Path) -> Iterator[ExportedImage]:
    """Give the parts of an image while the block runs; they are in a nameless file in `work`.

    Raises `EngineError` `engine.bad-export`, `engine.refused`, `engine.lost`, and `EnvbuildError`
    `disk.full`.
    """
    with disk_errors(work), tempfile.TemporaryFile(dir=work) as file:
        with explained("hand out the image", address=engine.address):
            api: Any = engine.client.api
            url = f"{api.base_url}/v{api.api_version}/images/{image_id}/get"
            with api.get(url, stream=True, timeout=api.timeout) as response:
                response.raise_for_status()
                for piece in response.iter_content(_PIECE):
                    file.write(piece)
        file.flush()
        file.seek(0)
        yield _read_archive(file, image_id)


def _read_archive(file: IO[bytes], image_id: str) -> ExportedImage:
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            members = {member.name: member for member in tar}
            (image,) = json.loads(_read_member(tar, members, "manifest.json"))
            config = json.loads(_read_member(tar, members, image["Config"]))
            names = [str(name) for name in image["Layers"]]
            diff_ids = [str(diff_id) for diff_id in config["rootfs"]["diff_ids"]]
            found = [_find_member(members, name) for name in names]
    except (tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise _bad(f"it is no archive of one image ({error})") from error
    if len(found) != len(diff_ids):
        raise _bad("it has another number of layers than its configuration says")
    layers = (
        ExportedLayer(diff_id=diff_id, file=file, offset=member.offset_data, size=member.size)
        for diff_id, member in zip(diff_ids, found, strict=True)
    )
    return ExportedImage(image_id=image_id, config=config, layers=tuple(layers))


def _find_member(members: Mapping[str, tarfile.TarInfo], name: str) -> tarfile.TarInfo:
    """Return the file of this name; a layer that comes twice is a link the second time."""
    for _ in range(len(members)):
        member = members[name]
        if not (member.issym() or member.islnk()):
            return member
        folder = posixpath.dirname(name) if member.issym() else ""
        name = posixpath.normpath(posixpath.join(folder, member.linkname))
    raise ValueError(f"`{name}` is a link to itself")


def _read_member(tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], name: str) -> bytes:
    file = tar.extractfile(_find_member(members, name))
    if file is None:
        raise ValueError(f"`{name}` is no file")
    with file:
        return file.read()


def unpack_pieces(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what is in a stream that may be compressed with gzip or zstd, or is plain.

    Raises `EngineError` `engine.bad-export` for a stream that can't be unpacked.
    """
    first = next(pieces, b"")
    try:
        if first.startswith(_GZIP):
            yield from _gunzip(first, pieces)
        elif first.startswith(ZSTD):
            yield from _unzstd(first, pieces)
        else:
            yield first
            yield from pieces
    except zlib.error as error:
        raise _bad(f"a layer can't be unpacked ({error})") from error


def _gunzip(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack gzip, of one member or many."""
    inflater, waiting = zlib.decompressobj(31), first
    while waiting or (waiting := next(pieces, b"")):
        if inflater.eof:
            inflater = zlib.decompressobj(31)
        yield inflater.decompress(waiting)
        waiting = inflater.unused_data
    if not inflater.eof:
        raise zlib.error("it is cut short")


def _unzstd(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack zstd, of one frame or many."""
    import zstandard

    context = zstandard.ZstdDecompressor()
    inflater, waiting = context.decompressobj(), first
    try:
        while waiting or (waiting := next(pieces, b"")):
            if inflater.eof:
                inflater = context.decompressobj()
            yield inflater.decompress(waiting)
            waiting = inflater.unused_data
    except zstandard.ZstdError as error:
        raise zlib.error(str(error)) from error
    if not inflater.eof:
        raise zlib.error("it is cut short")


def _bad(reason: str) -> EngineError:
    return EngineError(
        "engine.bad-export",
        f"what Docker Engine hands out as the image can't be read: {reason}",
        hint="start again; if it stays so, see the engine's own log",
    )
