"""Promises of a layer's members: any gzip reads them, and a broken stream is never passed on."""

from __future__ import annotations

import gzip
import itertools
import subprocess
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.layers.gzip import (
    HEADER,
    Inflater,
    StreamError,
    inflate_whole,
    pack_member,
    render_trailer,
)


def _deflate(plain: bytes, level: int = 6) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(plain) + packer.flush()


def _inflate(stream: bytes, *, size: int, crc32: int, step: int = 1000) -> bytes:
    inflater = Inflater(size=size, crc32=crc32)
    pieces = (stream[i : i + step] for i in range(0, len(stream), step))
    plain = b"".join(itertools.chain.from_iterable(map(inflater.feed, pieces)))
    inflater.finish()
    return plain


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=4))
def test_members_of_both_kinds_make_one_gzip_file(plains: list[bytes]) -> None:
    data = b""
    for number, plain in enumerate(plains):
        spliced = HEADER + _deflate(plain) + render_trailer(zlib.crc32(plain), len(plain))
        data += spliced if number % 2 else pack_member(plain)
    assert gzip.decompress(data) == b"".join(plains)


def test_gnu_gzip_takes_both_kinds() -> None:
    plain = b"some text that repeats, that repeats " * 999
    spliced = HEADER + _deflate(plain) + render_trailer(zlib.crc32(plain), len(plain))
    data = pack_member(plain) + spliced + pack_member(b"x" * 700) + spliced
    ended = subprocess.run(["gzip", "-dc"], input=data, capture_output=True, check=True)
    assert (ended.stdout, ended.stderr) == (plain + plain + b"x" * 700 + plain, b"")


def test_no_time_name_or_system_gets_into_a_member() -> None:
    assert pack_member(b"a")[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


@given(st.binary(max_size=300_000), st.integers(1, 70_000), st.integers(0, 9))
def test_a_whole_stream_is_followed_in_any_steps(plain: bytes, step: int, level: int) -> None:
    stream = _deflate(plain, level)
    crc32 = zlib.crc32(plain)
    assert _inflate(stream, size=len(plain), crc32=crc32, step=step) == plain
    assert inflate_whole(stream, len(plain), crc32) == plain


def test_a_bomb_is_not_inflated_beyond_its_size() -> None:
    pieces = Inflater(size=100_000, crc32=0).feed(_deflate(bytes(50_000_000)))
    seen: list[bytes] = []
    with pytest.raises(StreamError, match="longer"):
        seen.extend(pieces)
    assert len(b"".join(seen)) <= 100_000


_PLAIN = b"what a file holds, " * 5000
_STREAM = _deflate(_PLAIN)
_CRC32 = zlib.crc32(_PLAIN)


@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("stream", "size", "crc32"),
    [
        (_STREAM[:-1], len(_PLAIN), _CRC32),
        (_STREAM[: len(_STREAM) // 2], len(_PLAIN), _CRC32),
        (b"", len(_PLAIN), _CRC32),
        (_STREAM + b"!", len(_PLAIN), _CRC32),
        (_STREAM + _STREAM, len(_PLAIN), _CRC32),
        (_STREAM, len(_PLAIN) - 1, _CRC32),
        (_STREAM, len(_PLAIN) + 1, _CRC32),
        (_STREAM, len(_PLAIN), _CRC32 ^ 1),
        (b"\xff" * 90, len(_PLAIN), _CRC32),
    ],
    ids=["end", "half", "empty", "tail", "twice", "longer", "shorter", "checksum", "noise"],
)
def test_a_stream_that_is_not_what_was_promised_is_refused(
    stream: bytes, size: int, crc32: int, step: int
) -> None:
    with pytest.raises(StreamError):
        _inflate(stream, size=size, crc32=crc32, step=step)


@pytest.mark.parametrize(
    ("stream", "size", "crc32"),
    [
        (_STREAM[:-1], len(_PLAIN), _CRC32),
        (_STREAM, len(_PLAIN) - 1, _CRC32),
        (_STREAM, len(_PLAIN) + 1, _CRC32),
        (_STREAM, len(_PLAIN), _CRC32 ^ 1),
        (b"\xff" * 90, len(_PLAIN), _CRC32),
    ],
)
def test_a_small_stream_that_is_not_what_was_promised_is_refused(
    stream: bytes, size: int, crc32: int
) -> None:
    with pytest.raises(StreamError):
        inflate_whole(stream, size, crc32)
