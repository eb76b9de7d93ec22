"""Promises of images that are taken out of the engine: read in every form, and proven."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from envbuild.engine.client import Engine
from envbuild.engine.export import _read_archive, export_image, unpack_pieces
from envbuild.errors import EngineError
from envbuild.layers.seal import Seal, render_seal
from tests.rig.image import LoadedImage

SEAL = Seal(key="sha256:" + "0" * 64, diff_id="sha256:" + "1" * 64, plain_size=5)


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[place : place + size] for place in range(0, len(data), size))


@given(st.binary(max_size=400), st.integers(1, 150), st.integers(1, 50))
def test_every_compression_is_unpacked(plain: bytes, cut: int, size: int) -> None:
    chunks = list(in_pieces(plain, cut)) or [b""]
    compress = zstandard.ZstdCompressor().compress
    for packed in (
        b"".join(gzip.compress(chunk) for chunk in chunks),
        b"".join(gzip.compress(chunk) for chunk in chunks) + render_seal(SEAL, "gzip"),
        b"".join(compress(chunk) for chunk in chunks),
        b"".join(compress(chunk) for chunk in chunks) + render_seal(SEAL, "zstd"),
        b"tar" + plain,
    ):
        wanted = packed if packed.startswith(b"tar") else plain
        assert b"".join(unpack_pieces(in_pieces(packed, max(size, 4)))) == wanted


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(b"x" * 999, mtime=0), zstandard.compress(b"x" * 999)],
    ids=["gzip", "zstd"],
)
def test_what_is_cut_short_or_damaged_is_refused(packed: bytes) -> None:
    damaged = bytearray(packed)
    damaged[len(damaged) // 2] ^= 0xFF
    for data in (packed[:-3], bytes(damaged)):
        with pytest.raises(EngineError) as caught:
            list(unpack_pieces(iter([data])))
        assert caught.value.code == "engine.bad-export"


def make_archive(members: dict[str, bytes | str]) -> io.BytesIO:
    """Return an archive of `docker save`; a text is a link's target."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    buffer.seek(0)
    return buffer


def describe(layers: list[str], plain: list[bytes]) -> dict[str, bytes | str]:
    diff_ids = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in plain]
    manifest = [{"Config": "c.json", "Layers": layers, "RepoTags": None}]
    return {
        "c.json": json.dumps({"rootfs": {"diff_ids": diff_ids}}).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }


def read(buffer: io.BytesIO, folder: Path) -> list[bytes]:
    path = folder / "archive.tar"
    path.write_bytes(buffer.getvalue())
    with path.open("rb") as file:
        image = _read_archive(file, "sha256:x")
        return [b"".join(layer.pieces()) for layer in image.layers]


def test_both_forms_of_the_archive_are_read(tmp_path: Path) -> None:
    old = {
        "one/layer.tar": b"tar one",
        "two/layer.tar": "../one/layer.tar",
        **describe(["one/layer.tar", "two/layer.tar"], [b"tar one", b"tar one"]),
    }
    assert read(make_archive(old), tmp_path) == [b"tar one"] * 2
    new = {
        **describe(["blobs/sha256/a", "blobs/sha256/b"], [b"tar one", b"tar two"]),
        "blobs/sha256/a": gzip.compress(b"tar one"),
        "blobs/sha256/b": b"tar two",
    }
    assert read(make_archive(new), tmp_path) == [b"tar one", b"tar two"]


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"manifest.json": b"[]"},
        {"manifest.json": b"{"},
        {"one": b"other", **describe(["one"], [b"plain"])},
        {"one": b"plain", **describe(["two"], [b"plain"])},
        {"one": "one", **describe(["one"], [b"plain"])},
        {"one": b"plain", **describe(["one"], [b"plain", b"plain"])},
    ],
)
def test_damaged_archive_is_refused(members: dict[str, bytes | str], tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        read(make_archive(members), tmp_path)
    assert caught.value.code == "engine.bad-export"


@pytest.mark.engine
def test_image_comes_out_as_it_went_in(
    engine: Engine, python_image: LoadedImage, tmp_path: Path
) -> None:
    with export_image(engine, python_image.image_id, work=tmp_path) as image:
        (layer,) = image.layers
        digest = hashlib.sha256(b"".join(layer.pieces())).hexdigest()
    assert layer.diff_id == python_image.base == f"sha256:{digest}"
    assert list(tmp_path.iterdir()) == []
