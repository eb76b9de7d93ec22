"""Promises of written layers: the same bytes everywhere, what went in, and little memory."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import random
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuild.errors import ImageError
from envbuild.layers.archive import body_of_bytes
from envbuild.layers.entry import Body, Entry, Piece
from envbuild.layers.plan import CHUNK, FRAME, SPLICE_BYTES, Compression
from envbuild.layers.write import LayerFacts, write_layer
from envbuild.layers.zstd import pack_frame


@functools.cache
def _deflate(plain: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(plain) + packer.flush()


def _deflated(plain: bytes, *, step: int = 10_000, **other: object) -> Body:
    stream = _deflate(plain)

    def body() -> Piece:
        data = iter([stream[i : i + step] for i in range(0, len(stream), step)])
        told: dict[str, object] = {"size": len(plain), "crc32": zlib.crc32(plain), **other}
        return Piece(data=data, deflated=True, **told)  # type: ignore[arg-type]

    return body


def _plain(data: bytes, step: int) -> Body:
    return lambda: Piece(data=iter([data[i : i + step] for i in range(0, len(data), step)]))


def _file(path: str, data: bytes, body: Body | None = None, mode: int = 0o644) -> Entry:
    return Entry(
        path=path, kind="file", mode=mode, size=len(data), body=body or body_of_bytes(data)
    )


def _write(entries: list[Entry], compression: Compression = "gzip") -> tuple[bytes, LayerFacts]:
    out = io.BytesIO()
    facts = write_layer(entries, out.write, compression=compression)
    return out.getvalue(), facts


def _unpack(blob: bytes, compression: Compression) -> bytes:
    """Unpack with what is not ours: Python's zlib, or the `zstd` that Debian has."""
    if compression == "gzip":
        return gzip.decompress(blob)
    ended = subprocess.run(["zstd", "-dc"], input=blob, capture_output=True, check=True)
    assert ended.stderr == b""
    return ended.stdout


@functools.cache
def _noise(size: int) -> bytes:
    return random.Random(1).randbytes(size)


@functools.cache
def _text(size: int) -> bytes:
    words = random.Random(2).choices(range(100, 5000), k=size // 4 + 1)
    return (" ".join(map(str, words))).encode()[:size]


_COMPRESSIONS: tuple[Compression, ...] = ("gzip", "zstd")
_SIZES = st.one_of(
    st.integers(0, 3000),
    st.sampled_from([SPLICE_BYTES - 1, SPLICE_BYTES, SPLICE_BYTES + 1, CHUNK, 2 * CHUNK + 7]),
)


@st.composite
def _files(draw: st.DrawFn) -> list[tuple[str, bytes, bool]]:
    sizes = draw(st.lists(st.tuples(_SIZES, st.booleans(), st.booleans()), max_size=5))
    return [
        (f"opt/file{n}", (_text if text else _noise)(size), deflated)
        for n, (size, text, deflated) in enumerate(sizes)
    ]


@settings(deadline=None, max_examples=30)
@given(_files(), st.sampled_from(_COMPRESSIONS))
def test_a_reader_gets_back_what_went_in(
    files: list[tuple[str, bytes, bool]], compression: Compression
) -> None:
    entries = [_file(path, data, _deflated(data) if d else None) for path, data, d in files]
    blob, facts = _write(entries, compression)
    plain = _unpack(blob, compression)
    assert facts.diff_id == "sha256:" + hashlib.sha256(plain).hexdigest()
    assert facts.plain_size == len(plain)
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        found = [(m.name, file.read()) for m in tar if (file := tar.extractfile(m))]
    assert found == [(path, data) for path, data, _ in files]


@pytest.mark.parametrize("compression", _COMPRESSIONS)
def test_all_kinds_of_entries_come_out_of_gnu_tar(tmp_path: Path, compression: Compression) -> None:
    entries = [
        Entry(path="opt", kind="directory", mode=0o755),
        _file("opt/a", b"content\n", mode=0o755),
        Entry(path="opt/b", kind="symlink", mode=0o777, link="a"),
        Entry(path="opt/c", kind="hardlink", link="opt/a"),
        _file("opt/empty", b""),
        Entry(path="tmp", kind="directory", mode=0o1777),
    ]
    blob, _ = _write(entries, compression)
    extract = [
        "tar",
        "--extract",
        f"--{compression}",
        "--same-permissions",
        "--directory",
        str(tmp_path),
    ]
    ended = subprocess.run(extract, input=blob, capture_output=True, check=True)
    assert ended.stderr == b""
    show = f"cd {tmp_path} && find opt tmp -printf '%p %y %m %n %l\\n' | sort && cat opt/c"
    shown = subprocess.run(["sh", "-c", show], capture_output=True, check=True, text=True).stdout
    assert shown.splitlines() == [
        "opt d 755 2 ",
        "opt/a f 755 2 ",
        "opt/b l 777 1 a",
        "opt/c f 755 2 ",
        "opt/empty f 644 1 ",
        "tmp d 1777 2 ",
        "content",
    ]


@settings(deadline=None, max_examples=10)
@given(step=st.integers(1000, 300_000), compression=st.sampled_from(_COMPRESSIONS))
def test_the_bytes_do_not_depend_on_how_bodies_are_read(
    step: int, compression: Compression
) -> None:
    text, noise = _text(CHUNK + 99), _noise(40_000)

    def entries(size: int) -> list[Entry]:
        return [
            _file("a", text, _plain(text, size)),
            _file("b", noise, _deflated(noise, step=size)),
            _file("c", text, _deflated(text, step=size)),
        ]

    assert _write(entries(step), compression) == _write(entries(65_536), compression)


def test_the_diff_id_does_not_depend_on_the_compression() -> None:
    text, noise = _text(FRAME + 99), _noise(40_000)
    entries = [_file("a", text), _file("b", text, _deflated(text)), _file("c", noise)]
    assert _write(entries, "gzip")[1] == _write(entries, "zstd")[1]


def test_zstd_frames_are_of_a_fixed_size_and_stand_alone() -> None:
    text = _text(2 * FRAME + 99)
    blob, facts = _write([_file("a", text)], "zstd")
    plain = _unpack(blob, "zstd")
    sizes = [FRAME, FRAME, facts.plain_size - 2 * FRAME]
    frames = []
    for size in sizes:
        frames.append(pack_frame(plain[:size]))
        plain = plain[size:]
    assert b"".join(frames) == blob


def test_a_big_deflated_file_is_kept_as_it_is_and_a_small_one_is_not() -> None:
    big, small = _text(SPLICE_BYTES), _text(SPLICE_BYTES - 1)
    blob, _ = _write([_file("big", big, _deflated(big)), _file("small", small, _deflated(small))])
    assert _deflate(big) in blob
    assert _deflate(small) not in blob


_TEXT = _text(50_000)


@pytest.mark.parametrize("compression", _COMPRESSIONS)
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry(path="f", kind="file", size=5, body=body_of_bytes(b"1234")), "5 bytes"),
        (Entry(path="f", kind="file", size=5, body=body_of_bytes(b"123456")), "5 bytes"),
        (_file("f", _TEXT, _deflated(_TEXT, crc32=1)), "checksum"),
        (_file("f", _TEXT, _deflated(_TEXT, size=50_001)), "50001 bytes"),
        (_file("f", _TEXT[:900], _deflated(_TEXT[:900], crc32=1)), "checksum"),
        (_file("f", _TEXT[:900], _deflated(_TEXT[:900], sha256=bytes(32))), "SHA-256"),
        (_file("f", _TEXT, _deflated(_TEXT, sha256=bytes(32))), "SHA-256"),
        (
            _file("f", b"stored", lambda: Piece(data=iter((b"stored",)), size=6, crc32=1)),
            "checksum",
        ),
    ],
    ids=["short", "long", "crc32", "size", "small crc32", "small sha256", "sha256", "stored crc32"],
)
def test_content_that_is_not_what_its_entry_says_is_refused(
    entry: Entry, message: str, compression: Compression
) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        _write([entry], compression)
    assert caught.value.code == "layer.bad-content"
    assert "`f`" in caught.value.message


def test_the_error_names_where_the_content_came_from() -> None:
    body = _deflated(_TEXT, crc32=1, source="`pkg/f` of `pkg-1.0.whl`")
    with pytest.raises(ImageError, match=r"`pkg/f` of `pkg-1\.0\.whl`"):
        _write([_file("f", _TEXT, body)])


def test_what_a_body_raises_ends_the_layer() -> None:
    def broken() -> Iterator[bytes]:
        yield b"123"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _write([Entry(path="f", kind="file", size=9, body=lambda: Piece(data=broken()))])


_TWO_GIGABYTES = """
import resource, sys, zlib
from envbuild.layers.entry import Entry, Piece
from envbuild.layers.write import write_layer

BLOCK, COUNT = bytes(1 << 20), 128

def plain():
    return Piece(data=(BLOCK for _ in range(2048)))

def deflated():
    packer, crc32 = zlib.compressobj(1, zlib.DEFLATED, -15), 0
    for _ in range(COUNT):
        crc32 = zlib.crc32(BLOCK, crc32)
    stream = b"".join(packer.compress(BLOCK) for _ in range(COUNT)) + packer.flush()
    return Piece(data=iter((stream,)), deflated=True, size=COUNT << 20, crc32=crc32)

write_layer([], len, compression=sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
facts = write_layer([
    Entry(path="plain", kind="file", size=2 << 30, body=plain),
    Entry(path="spliced", kind="file", size=COUNT << 20, body=deflated),
], len, compression=sys.argv[1])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(facts.plain_size, after - before)
"""


@pytest.mark.parametrize("compression", _COMPRESSIONS)
def test_memory_does_not_grow_with_the_file(compression: Compression) -> None:
    command = [sys.executable, "-c", _TWO_GIGABYTES, compression]
    ended = subprocess.run(command, capture_output=True, check=True, text=True)
    size, kilobytes = map(int, ended.stdout.split())
    assert size > 2_250_000_000
    assert kilobytes < (20_000 if compression == "gzip" else 40_000)
