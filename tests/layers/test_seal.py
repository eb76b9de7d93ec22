"""A layer's seal: read back from a blob's end, passed over by every decoder."""

from __future__ import annotations

import gzip
import io
import subprocess
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from envbuild.layers.seal import SEAL_SIZE, Seal, parse_seal, render_seal

_digests = st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256:{raw.hex()}")
_seals = st.builds(
    Seal, key=_digests, diff_id=_digests, plain_size=st.integers(min_value=0, max_value=2**64 - 1)
)
_SEAL = Seal(key="sha256:" + "1" * 64, diff_id="sha256:" + "2" * 64, plain_size=9)


@given(_seals, st.sampled_from(["gzip", "zstd"]), st.binary(max_size=200))
def test_a_seal_is_read_back_from_the_end(seal: Seal, compression: str, before: bytes) -> None:
    end = (before + render_seal(seal, compression))[-SEAL_SIZE:]
    assert parse_seal(end) == seal


@given(st.binary(max_size=200))
def test_other_bytes_have_no_seal(data: bytes) -> None:
    assert parse_seal(data) is None


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_seal_that_is_cut_or_followed_by_more_is_none(compression: str) -> None:
    whole = render_seal(_SEAL, compression)
    assert parse_seal(whole[:-1]) is None
    assert parse_seal(whole[1:]) is None
    assert parse_seal(whole + b"\0") is None


def test_gzip_decoders_pass_over_it() -> None:
    blob = gzip.compress(b"content") + render_seal(_SEAL, "gzip")
    assert gzip.decompress(blob) == b"content"
    assert gzip.GzipFile(fileobj=io.BytesIO(blob)).read() == b"content"
    done = subprocess.run(["gzip", "-dc"], input=blob, capture_output=True, check=True)
    assert done.stdout == b"content"
    assert done.stderr == b""
    inflate = zlib.decompressobj(wbits=31)
    assert inflate.decompress(blob) == b"content"
    last = zlib.decompressobj(wbits=31)
    assert last.decompress(inflate.unused_data) == b""
    assert last.eof


def test_zstd_decoders_pass_over_it() -> None:
    blob = zstandard.compress(b"content") + render_seal(_SEAL, "zstd")
    reader = zstandard.ZstdDecompressor().stream_reader(blob, read_across_frames=True)
    assert reader.read() == b"content"


def test_what_is_no_digest_is_never_sealed() -> None:
    with pytest.raises(ValueError, match="not a digest"):
        render_seal(Seal(key="sha256:1", diff_id=_SEAL.diff_id, plain_size=0), "gzip")
