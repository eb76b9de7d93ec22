"""Archives made to fill a disk or a memory are refused before they do."""

from __future__ import annotations

import bz2
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from envbuild.errors import ImageError
from envbuild.layers.archive import is_bomb
from envbuild.layers.conda import read_conda
from envbuild.layers.wheel import read_wheel
from tests.layers.condas import describe_conda
from tests.layers.wheels import INFO, describe, write_wheel

_PLAIN = 300 << 20
_STEP = 10 << 20


def _refuse_wheel(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_wheel(path, describe(path), prefix="/opt/env", python_minor="3.11")
    assert caught.value.code == "layer.bad-wheel"
    return caught.value.message


def test_a_wheel_that_is_a_bomb_is_refused(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, {})
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("demo/zeros", "w") as member,
    ):
        for _ in range(_PLAIN // _STEP):
            member.write(bytes(_STEP))
    assert "made to harm" in _refuse_wheel(path)


def test_members_that_lie_over_each_other_are_refused(tmp_path: Path) -> None:
    """The other kind of bomb: many members of the directory are one and the same stream."""
    path = write_wheel(tmp_path, {"demo/a.bin": bytes(range(256)) * 40}, stored=True)
    data = bytearray(path.read_bytes())
    start = data.rindex(b"PK\1\2", 0, data.rindex(f"{INFO}/RECORD".encode()))
    end = data.rindex(b"PK\5\6")
    (size,) = struct.unpack_from("<I", data, start + 20)
    struct.pack_into("<II", data, start + 20, size + 9000, size + 9000)
    path.write_bytes(data)
    assert start < end
    assert "and the archive only" in _refuse_wheel(path)


def _refuse_conda(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_conda(path, describe_conda(path), prefix="/opt/env", python_minor="3.11")
    assert caught.value.code == "layer.bad-conda"
    return caught.value.message


def test_conda_packages_that_are_bombs_are_refused_while_they_unpack(tmp_path: Path) -> None:
    old = tmp_path / "demo-1.0-0.tar.bz2"
    old.write_bytes(bz2.compress(bytes(_STEP)) * (_PLAIN // _STEP))
    assert "can't be read" in _refuse_conda(old)
    new = tmp_path / "demo-1.0-0.conda"
    packed = zstandard.ZstdCompressor().compress(bytes(_STEP)) * (_PLAIN // _STEP)
    with zipfile.ZipFile(new, "w") as outer:
        outer.writestr("pkg-demo-1.0-0.tar.zst", packed)
        outer.writestr("info-demo-1.0-0.tar.zst", packed)
    assert "bytes become more than" in _refuse_conda(new)
    assert {path.name for path in tmp_path.iterdir()} == {old.name, new.name}


def test_a_sparse_file_in_a_conda_package_is_refused(tmp_path: Path) -> None:
    """Its bytes in the tar are not its content, and a few of them may stand for terabytes."""
    info = tarfile.TarInfo("share/sparse")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"%011o\0" % 600  # the size that it stands for
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    index = b'{"name": "demo", "version": "1.0", "build": "0"}'
    paths = b'{"paths": [{"_path": "share/sparse", "path_type": "hardlink"}]}'
    plain = b"".join(
        _member(name, data)
        for name, data in (("info/index.json", index), ("info/paths.json", paths))
    )
    path = tmp_path / "demo-1.0-0.tar.bz2"
    path.write_bytes(bz2.compress(plain + bytes(header) + bytes(1024)))
    assert "neither file nor link" in _refuse_conda(path)


def _member(name: str, data: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf() + data + bytes(-len(data) % 512)


def test_what_compresses_well_is_no_bomb() -> None:
    assert not is_bomb(1000, 200 << 20)
    assert not is_bomb(10 << 20, 2_000 << 20)
    assert is_bomb(10 << 20, 4_000 << 20)
