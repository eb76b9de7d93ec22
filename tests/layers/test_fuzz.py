"""Whatever is in an archive, reading and packing it ends well or in an `ImageError`, by name."""

from __future__ import annotations

import io
import json
import random
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envbuild.errors import ImageError
from envbuild.layers.conda import read_conda
from envbuild.layers.entry import Entry
from envbuild.layers.order import list_entries, plan_entries
from envbuild.layers.overlaps import describe_contents
from envbuild.layers.wheel import read_wheel
from envbuild.layers.write import write_layer
from envbuild.lock.model import Artifact
from tests.layers.condas import OLD, Member, describe_conda, list_paths, write_conda
from tests.layers.wheels import INFO, describe, write_wheel

_EXAMPLES = 150
_POINTS = b"[console_scripts]\ndemo = demo.cli:main\n"
_FILES = {
    "demo/__init__.py": b"import sys\n" * 20,
    "demo/data.bin": bytes(range(256)) * 30,
    "demo/empty": b"",
    "demo-1.0.data/scripts/run": b"#!python\nprint(1)\n",
    f"{INFO}/entry_points.txt": _POINTS,
}
_MEMBERS = (
    Member(path="bin/tool", data=f"#!{OLD}/bin/sh\n".encode(), mode=0o755, prefix_mode="text"),
    Member(path="lib/a.so", data=f"\0{OLD}/lib\0".encode(), prefix_mode="binary"),
    Member(path="lib/b.so", link="a.so", kind=tarfile.SYMTYPE),
    Member(path="lib/plain", data=bytes(range(256)) * 9),
    Member(path="lib/twin", link="lib/plain", kind=tarfile.LNKTYPE),
)

_places = st.floats(0, 1, exclude_max=True)
_mutations = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), _places, st.integers(1, 255)),
        st.tuples(st.just("set"), _places, st.sampled_from([0, 0x7F, 0x80, 0xFF])),
        st.tuples(st.just("cut"), _places, st.integers(1, 400)),
        st.tuples(st.just("copy"), _places, st.integers(1, 400)),
        st.tuples(st.just("number"), _places, st.sampled_from([0, 1, 2**16, 2**31, 2**32 - 1])),
    ),
    min_size=1,
    max_size=4,
)
_DO: dict[str, Callable[[bytearray, int, int], None]] = {
    "flip": lambda data, at, value: data.__setitem__(at, data[at] ^ value),
    "set": lambda data, at, value: data.__setitem__(at, value),
    "cut": lambda data, at, value: data.__delitem__(slice(at, at + value)),
    "copy": lambda data, at, value: data.__setitem__(slice(at, at), data[at : at + value]),
    "number": lambda data, at, value: data.__setitem__(slice(at, at + 4), struct.pack("<I", value)),
}


def _mutate(data: bytes, mutations: list[tuple[str, float, int]], magic: bytes = b"") -> bytes:
    """Return `data` changed; where `magic` is given, only in the records that begin with it."""
    changed = bytearray(data)
    for kind, place, value in mutations:
        if not changed:
            break
        at = int(place * len(changed))
        if magic:
            start = changed.rfind(magic, 0, at + 1)
            at = min(max(start, 0) + at % 60, len(changed) - 1)
        _DO[kind](changed, at, value)
    return bytes(changed)


def _survive(read: Callable[[], tuple[Entry, ...]], artifact: Artifact) -> None:
    """Read, trace and pack; nothing but an `ImageError` may come out."""
    refused: ImageError | None = None
    try:
        entries = read()
        write_layer(plan_entries([entries]), lambda _: None, compression="gzip")
        list_entries(entries)
        describe_contents(artifact, entries)
    except ImageError as error:
        refused = error
    assert refused is None or refused.code.startswith("layer.")


@cache
def _good_wheel() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_wheel(Path(folder), _FILES).read_bytes()


@cache
def _good_conda(suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write_conda(Path(folder), _MEMBERS, suffix=suffix).read_bytes()


def _try_wheel(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "demo-1.0-py3-none-any.whl")
        path.write_bytes(data)
        wheel = describe(path)
        _survive(lambda: read_wheel(path, wheel, prefix="/opt/env", python_minor="3.11"), wheel)


def _try_conda(data: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"demo-1.0-0{suffix}")
        path.write_bytes(data)
        package = describe_conda(path)
        _survive(lambda: read_conda(path, package, prefix="/opt/env", python_minor="3.11"), package)


_quick = settings(
    max_examples=_EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@_quick
@given(_mutations)
def test_a_damaged_wheel_never_ends_in_another_error(
    mutations: list[tuple[str, float, int]],
) -> None:
    _try_wheel(_mutate(_good_wheel(), mutations))


@_quick
@given(_mutations, st.sampled_from([b"PK\1\2", b"PK\3\4", b"PK\5\6"]))
def test_a_damaged_directory_of_a_wheel_never_ends_in_another_error(
    mutations: list[tuple[str, float, int]], magic: bytes
) -> None:
    _try_wheel(_mutate(_good_wheel(), mutations, magic))


_texts = st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode()))
_lines = st.lists(
    st.sampled_from(
        [b"[console_scripts]", b"x = a:b", b"[gui_scripts", b"= :", b"x=a", b"Wheel-Version: 1.0",
         b"demo/__init__.py,sha256=x,1", b'"', b",,", b"\xff", b"Requires-Dist: a; extra == 'b'",
         b"Requires-Dist:", b"\0", b"\xed\xb3\xbf", b"Name: demo"]
    ), max_size=8,
).map(b"\n".join)  # fmt: skip


@_quick
@given(
    st.sampled_from(["RECORD", "WHEEL", "METADATA", "entry_points.txt"]), st.one_of(_texts, _lines)
)
def test_no_paper_of_a_wheel_ends_in_another_error(name: str, text: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_wheel(Path(folder), {**_FILES, f"{INFO}/{name}": text})
        _try_wheel(path.read_bytes())


_names = st.text(
    st.one_of(st.sampled_from("/.\\aé:\0\n~"), st.characters(exclude_categories=())), max_size=30
)


@_quick
@given(st.lists(_names.filter(lambda name: name.isprintable()), max_size=5, unique=True))
def test_no_name_in_a_wheel_ends_in_another_error(names: list[str]) -> None:
    out = io.BytesIO(_good_wheel())
    with zipfile.ZipFile(out, "a") as archive:
        for name in names:
            if name and name not in archive.namelist():
                archive.writestr(zipfile.ZipInfo(name), b"1")
    _try_wheel(out.getvalue())


@_quick
@given(_mutations, st.sampled_from([".conda", ".tar.bz2"]))
def test_a_damaged_conda_package_never_ends_in_another_error(
    mutations: list[tuple[str, float, int]], suffix: str
) -> None:
    _try_conda(_mutate(_good_conda(suffix), mutations), suffix)


@_quick
@given(_mutations)
def test_a_damaged_tar_in_a_conda_package_never_ends_in_another_error(
    mutations: list[tuple[str, float, int]],
) -> None:
    import bz2

    plain = bz2.decompress(_good_conda(".tar.bz2"))
    _try_conda(bz2.compress(_mutate(plain, mutations), 1), ".tar.bz2")


_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2**70), st.text(max_size=9), st.floats()
)
_json = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["paths", "_path", "path_type", "noarch", "entry_points", "name", "depends",
                         "sha256", "size_in_bytes", "prefix_placeholder", "file_mode", "subdir"]),
        inner, max_size=4), max_leaves=8,
)  # fmt: skip


@_quick
@given(
    st.sampled_from(["index.json", "paths.json", "link.json"]),
    st.sampled_from(["", "paths", "noarch", "depends", "subdir", "name", "row"]),
    _json,
)
def test_no_paper_of_a_conda_package_ends_in_another_error(
    file: str, key: str, value: object
) -> None:
    good: dict[str, object] = {
        "index.json": {"name": "demo", "version": "1.0", "build": "0", "noarch": "python"},
        "paths.json": list_paths(_MEMBERS),
        "link.json": {"noarch": {"type": "python", "entry_points": ["x = a:b"]}},
    }
    if key == "row":
        row = {"_path": "bin/tool", **(value if isinstance(value, dict) else {"size": value})}
        good["paths.json"] = {"paths": [row]}
    elif key:
        found = good[file]
        assert isinstance(found, dict)
        good[file] = {**found, key: value}
    else:
        good[file] = value
    info = {name: json.dumps(content).encode() for name, content in good.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = write_conda(Path(folder), _MEMBERS, info=info)
        _try_conda(path.read_bytes(), ".conda")


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_no_archive(seed: int) -> None:
    noise = random.Random(seed).randbytes(3000)
    for head in (b"", b"PK\3\4", b"BZh9", b"PK\5\6"):
        _try_wheel(head + noise)
        _try_conda(head + noise, ".conda")
        _try_conda(head + noise, ".tar.bz2")
