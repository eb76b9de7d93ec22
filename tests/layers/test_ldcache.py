"""The loader's cache is, byte for byte, the one that ldconfig makes of the same files."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.layers.debtree import Tree
from envbuild.layers.entry import Entry
from envbuild.layers.ldcache import compare_names, plan_cache, render_cache
from tests.layers.elfs import AARCH64, file, link, make_library
from tests.rig.need import missing

LIB = "usr/lib/x86_64-linux-gnu"
CONF = [
    file("etc/ld.so.conf", b"include /etc/ld.so.conf.d/*.conf\n"),
    file("etc/ld.so.conf.d/libc.conf", b"# local first\n/usr/local/lib\n"),
    file(
        "etc/ld.so.conf.d/x86_64-linux-gnu.conf",
        b"/usr/local/lib/x86_64-linux-gnu\n/lib/x86_64-linux-gnu\n/usr/lib/x86_64-linux-gnu/\n",
    ),
]
MERGED = [link("lib", "usr/lib"), link("lib64", "usr/lib64")]

CASES = {
    "a name and its file": [
        file(f"{LIB}/liba.so.1.2", make_library("liba.so.1")),
        link(f"{LIB}/liba.so.1", "liba.so.1.2"),
    ],
    "a link that is missing": [file(f"{LIB}/libb.so.2.0.1", make_library("libb.so.2"))],
    "the newest of several": [
        file(f"{LIB}/libc1.so.9", make_library("libc1.so")),
        file(f"{LIB}/libc1.so.10", make_library("libc1.so")),
        link(f"{LIB}/libc1.so", "libc1.so.9"),
    ],
    "a link for ld": [
        file(f"{LIB}/libd.so.1", make_library("libd.so.1")),
        link(f"{LIB}/libd.so", "libd.so.1"),
    ],
    "a link of another name": [
        file(f"{LIB}/libe.so.1", make_library("libe.so.1")),
        link(f"{LIB}/libother.so.1", "libe.so.1"),
    ],
    "no name of its own": [file(f"{LIB}/libf.so", make_library(None))],
    "through an alternative": [
        file(f"{LIB}/blas/libblas.so.3.1", make_library("libblas.so.3")),
        link(f"{LIB}/blas/libblas.so.3", "libblas.so.3.1"),
        link(f"{LIB}/libblas.so.3", "/etc/alternatives/libblas.so.3"),
        link("etc/alternatives/libblas.so.3", f"/{LIB}/blas/libblas.so.3"),
    ],
    "one name in two folders": [
        file(f"{LIB}/libg.so.1", make_library("libg.so.1")),
        file("usr/local/lib/libg.so.1", make_library("libg.so.1")),
        file("usr/lib/libg.so.1", make_library("libg.so.1")),
    ],
    "a loader": [
        file(f"{LIB}/ld-linux-x86-64.so.2", make_library("ld-linux-x86-64.so.2")),
        link("usr/lib64/ld-linux-x86-64.so.2", f"/lib/{LIB[8:]}/ld-linux-x86-64.so.2"),
    ],
    "no libraries": [
        file(f"{LIB}/libh.so", b"/* GNU ld script */\nINPUT(libh.so.1)\n"),
        file(f"{LIB}/libi.so.1", b""),
        file(f"{LIB}/libj.so.1", make_library("libj.so.1", kind=2)),
        file(f"{LIB}/libk.txt", make_library("libk")),
        file(f"{LIB}/plugin.so", make_library("plugin.so")),
    ],
    "names that end alike": [
        file(f"{LIB}/lib{n}.so.1", make_library(f"lib{n}.so.1")) for n in ("ab", "b", "cab", "x2")
    ],
}


def _write(root: Path, entries: Sequence[Entry]) -> None:
    for entry in entries:
        path = root / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == "symlink":
            path.symlink_to(entry.link)
        else:
            assert entry.body is not None
            path.write_bytes(b"".join(entry.body().data))


def _ldconfig() -> str:
    tool = shutil.which("ldconfig", path="/sbin:/usr/sbin")
    if tool is None:
        missing("ldconfig", "run `apt-get install libc-bin`")
    return tool


def _check(root: Path, entries: Sequence[Entry]) -> int:
    """Compare with ldconfig; return the number of rows."""
    rows, links = plan_cache(Tree([[*CONF, *entries]]))
    _write(root, [*MERGED, *CONF, *entries])
    (root / "var/cache/ldconfig").mkdir(parents=True)
    before = {path for path in root.rglob("*") if path.is_symlink()}
    subprocess.run([_ldconfig(), "-r", str(root)], check=True, capture_output=True)
    real = (root / "etc/ld.so.cache").read_bytes()
    generator = real[real.rindex(b"ldconfig (") :]
    assert render_cache(rows, generator=generator) == real
    wanted = {entry.path: entry.link for entry in links}
    made = {p for p in root.rglob("*") if p.is_symlink()} - before
    assert {str(p.relative_to(root)) for p in made} <= wanted.keys()
    assert {path: str((root / path).readlink()) for path in wanted} == wanted
    return len(rows)


@pytest.mark.parametrize("case", CASES)
def test_ldconfig_makes_the_same(tmp_path: Path, case: str) -> None:
    assert (_check(tmp_path, CASES[case]) == 0) == (case == "no libraries")


def test_ldconfig_makes_the_same_of_everything_together(tmp_path: Path) -> None:
    everything = {e.path: e for entries in CASES.values() for e in entries}
    assert _check(tmp_path, list(everything.values())) > 12


def test_ldconfig_makes_the_same_of_this_machine_s_libraries(tmp_path: Path) -> None:
    found = sorted(Path("/usr/lib/x86_64-linux-gnu").glob("lib*.so*"))
    entries = [
        link(str(path).lstrip("/"), str(path.readlink()))
        if path.is_symlink()
        else file(str(path).lstrip("/"), path.read_bytes())
        for path in found
        # A link into another folder would need that folder, too.
        if path.is_file() and path.resolve().parent == path.parent and path.stat().st_size < 1 << 20
    ][:120]
    if len(entries) < 20:
        missing("a machine with Debian's libraries for x86-64", "run this test on Debian, amd64")
    there = {entry.path for entry in entries}
    whole = [e for e in entries if not e.link or f"{LIB}/{e.link}" in there]
    assert _check(tmp_path, whole) > 10


def test_libraries_of_arm64_are_marked_so(tmp_path: Path) -> None:
    name = "usr/lib/aarch64-linux-gnu/libz.so.1"
    config = file("etc/ld.so.conf", b"/lib/aarch64-linux-gnu\n")
    tree = Tree([[config, file(name, make_library("libz.so.1", machine=AARCH64))]])
    (row,), links = plan_cache(tree)
    assert (row.name, row.path) == ("libz.so.1", "/lib/aarch64-linux-gnu/libz.so.1")
    assert (row.flags, links) == (0x0A03, ())
    cache = tmp_path / "cache"
    cache.write_bytes(render_cache([row]))
    shown = subprocess.run(
        [_ldconfig(), "-p", "-C", str(cache)], check=True, capture_output=True, text=True
    ).stdout
    assert "libz.so.1 (libc6,AArch64) => /lib/aarch64-linux-gnu/libz.so.1" in shown
    assert struct.unpack_from("<20sI", cache.read_bytes()) == (b"glibc-ld.so.cache1.1", 1)


def test_an_include_that_includes_itself_ends() -> None:
    config = [file("etc/ld.so.conf", b"include ld.so.conf\n/opt/lib\ninclude /etc/none/*.conf\n")]
    (row,), _ = plan_cache(Tree([[*config, file("opt/lib/liba.so", make_library(None))]]))
    assert row.path == "/opt/lib/liba.so"


@given(st.integers(0, 300), st.binary(max_size=12), st.integers(0, 400))
def test_damaged_libraries_are_no_libraries_or_have_no_name(
    place: int, damage: bytes, size: int
) -> None:
    data = make_library("liba.so.1")
    damaged = (data[:place] + damage + data[place + len(damage) :])[:size]
    rows, links = plan_cache(Tree([[*CONF, file(f"{LIB}/liba.so.1", damaged)]]))
    assert len(rows) <= 1
    assert len(render_cache(rows)) > 48
    assert all(entry.kind == "symlink" for entry in links)


_NAMES = st.text(alphabet="ab.109", max_size=6)


@given(_NAMES, _NAMES, _NAMES)
def test_names_have_one_order(one: str, two: str, three: str) -> None:
    def sign(a: str, b: str) -> int:
        return (compare_names(a, b) > 0) - (compare_names(a, b) < 0)

    assert sign(one, two) == -sign(two, one)
    if sign(one, two) <= 0 and sign(two, three) <= 0:
        assert sign(one, three) <= 0
    assert compare_names("liba.so.9", "liba.so.10") < 0
    assert compare_names("liba.so", "liba.so.1") < 0
