"""Layers as others read them: GNU tar, Python's tarfile, `zstd`, and skopeo's decoders in Go."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuild.errors import ImageError
from envbuild.layers.archive import body_of_bytes
from envbuild.layers.entry import Entry, Piece
from envbuild.layers.order import plan_entries
from envbuild.layers.plan import FRAME, Compression
from envbuild.layers.tar import END, render_header
from envbuild.layers.write import LayerFacts, write_layer
from envbuild.layers.zstd import pack_frame
from tests.rig import need

_COMPRESSIONS: tuple[Compression, ...] = ("gzip", "zstd")
_LONG = "/".join(["opt", "ordner-mit-ümläuten-" * 6, "d" * 200, "日本語" * 20])
_TEXT = b"".join(b"line %d of a text that packs well\n" % n for n in range(40_000))


def _file(path: str, data: bytes) -> Entry:
    return Entry(path=path, kind="file", size=len(data), body=body_of_bytes(data))


def _spliced(path: str, data: bytes) -> Entry:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = packer.compress(data) + packer.flush()

    def body() -> Piece:
        return Piece(data=(stream,), deflated=True, size=len(data), crc32=zlib.crc32(data))

    return Entry(path=path, kind="file", size=len(data), body=body)


def _make_entries() -> tuple[Entry, ...]:
    return plan_entries(
        [
            [
                _file(f"{_LONG}/{'x' * 250}", b"long"),
                Entry(path="opt/soft", kind="symlink", mode=0o777, link="ü" * 120 + "/" + "z" * 90),
                Entry(path="opt/hard", kind="hardlink", link=f"{_LONG}/{'x' * 250}"),
                _spliced("opt/big", _TEXT),
                *(_spliced(f"opt/many/{n}", _TEXT[: n * 97]) for n in range(1, 120)),
                _file("opt/stored", os.urandom(50_000)),
            ]
        ]
    )


def _write(entries: tuple[Entry, ...], compression: Compression) -> tuple[bytes, LayerFacts]:
    out = io.BytesIO()
    facts = write_layer(entries, out.write, compression=compression)
    return out.getvalue(), facts


@pytest.mark.parametrize("compression", _COMPRESSIONS)
def test_gnu_tar_unpacks_long_and_foreign_names(tmp_path: Path, compression: Compression) -> None:
    blob, _ = _write(_make_entries(), compression)
    command = ["tar", "--extract", f"--{compression}", "--directory", str(tmp_path)]
    ended = subprocess.run(command, input=blob, capture_output=True, check=True)
    assert ended.stderr == b""
    long = tmp_path / _LONG / ("x" * 250)
    assert long.read_bytes() == b"long"
    assert (tmp_path / "opt/hard").samefile(long)
    assert (tmp_path / "opt/soft").readlink() == Path("ü" * 120 + "/" + "z" * 90)
    assert (tmp_path / "opt/big").read_bytes() == _TEXT
    for number in range(1, 120):
        assert (tmp_path / f"opt/many/{number}").read_bytes() == _TEXT[: number * 97]


@pytest.mark.parametrize("compression", _COMPRESSIONS)
def test_go_unpacks_to_the_diff_id(tmp_path: Path, compression: Compression) -> None:
    if not shutil.which("skopeo"):
        need.missing("skopeo", "apt-get install skopeo")
    blob, facts = _write(_make_entries(), compression)
    layout = _write_layout(tmp_path / "layout", blob, facts, compression)
    target = tmp_path / "plain"
    command = [
        "skopeo", "--insecure-policy", "copy", "--quiet", "--dest-decompress",
        f"oci:{layout}:test", f"dir:{target}",
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    plain = (target / facts.diff_id.removeprefix("sha256:")).read_bytes()
    assert len(plain) == facts.plain_size
    assert hashlib.sha256(plain).hexdigest() == facts.diff_id.removeprefix("sha256:")


def _write_layout(root: Path, blob: bytes, facts: LayerFacts, compression: Compression) -> Path:
    """Write an OCI image layout of one image with this one layer, named `test`."""
    kind = "application/vnd.oci.image"

    def add(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        path = root / "blobs/sha256" / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [facts.diff_id]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": add(json.dumps(config).encode(), f"{kind}.config.v1+json"),
        "layers": [add(blob, f"{kind}.layer.v1.tar+{compression}")],
    }
    named = add(json.dumps(manifest).encode(), f"{kind}.manifest.v1+json")
    named["annotations"] = {"org.opencontainers.image.ref.name": "test"}
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return root


def test_gnu_tar_and_python_find_what_follows_more_than_eight_gigabytes(tmp_path: Path) -> None:
    size = 8**11 + 5
    path = tmp_path / "big.tar"
    with path.open("wb") as file:  # sparse: nobody reads the content
        file.write(render_header(Entry(path="big", kind="file", size=size)))
        file.seek(size + -size % 512, os.SEEK_CUR)
        file.write(render_header(Entry(path="after", kind="file")) + END)
    listed = subprocess.run(
        ["tar", "--list", "--verbose", "--file", str(path)],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert [line.split()[2] for line in listed.stdout.splitlines()] == [str(size), "0"]
    with tarfile.open(path) as tar:
        assert [(member.name, member.size) for member in tar] == [("big", size), ("after", 0)]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.binary(max_size=5000), min_size=1, max_size=5))
def test_frames_in_a_row_are_one_zstd_file(plains: list[bytes]) -> None:
    data = b"".join(map(pack_frame, plains))
    ended = subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True)
    assert (ended.stdout, ended.stderr) == (b"".join(plains), b"")


@settings(deadline=None, max_examples=20)
@given(st.binary(min_size=1, max_size=3000), st.integers(1, 400))
def test_a_frame_depends_on_its_content_alone(pattern: bytes, times: int) -> None:
    plain = pattern * times
    first = pack_frame(plain)
    pack_frame(_TEXT[:FRAME])
    assert pack_frame(memoryview(bytearray(plain))) == first
    import zstandard

    assert zstandard.get_frame_parameters(first).content_size == len(plain)
    assert zstandard.ZstdDecompressor().decompress(first) == plain


def test_another_build_of_the_encoder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import zstandard

    monkeypatch.setattr(zstandard, "ZSTD_VERSION", (1, 5, 2))
    with pytest.raises(ImageError, match=r"libzstd-1\.5\.2") as caught:
        _write(_make_entries(), "zstd")
    assert caught.value.code == "layer.encoder"
    assert "zstandard==" in str(caught.value.hint)
    _write(_make_entries(), "gzip")
