"""Promises of our tar headers: every reader gets back exactly what went in."""

from __future__ import annotations

import io
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.errors import ImageError
from envbuild.layers.entry import Entry, Kind
from envbuild.layers.tar import END, padding, render_header

_NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1, max_size=90
).filter(lambda name: name not in {".", ".."})
_PATHS = st.lists(_NAMES, min_size=1, max_size=6).map("/".join)
_KINDS: st.SearchStrategy[Kind] = st.sampled_from(["file", "directory", "symlink", "hardlink"])


@st.composite
def _entries(draw: st.DrawFn) -> Entry:
    kind = draw(_KINDS)
    return Entry(
        path=draw(_PATHS),
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        size=draw(st.integers(0, 2**40)) if kind == "file" else 0,
        link=draw(_PATHS) if kind.endswith("link") else "",
        owner=draw(st.integers(0, 2**31)),
    )


def _read_back(header: bytes) -> tarfile.TarInfo:
    with tarfile.open(fileobj=io.BytesIO(header + END)) as tar:
        # One header only: content is not looked for until the next one is.
        member = tar.next()
        assert member is not None
        return member


@given(_entries())
def test_python_reads_back_what_went_in(entry: Entry) -> None:
    member = _read_back(render_header(entry))
    kinds = {"file": member.isreg(), "directory": member.isdir(), "symlink": member.issym()}
    assert kinds.get(entry.kind, member.islnk())
    assert member.name == entry.path
    assert member.linkname == entry.link
    assert (member.mode, member.size) == (entry.mode, entry.size)
    assert member.uid == member.gid == entry.owner
    assert (member.uname, member.gname, member.mtime) == ("", "", 0)


@given(_entries())
def test_headers_are_whole_blocks(entry: Entry) -> None:
    assert len(render_header(entry)) % 512 == 0


@given(st.integers(0, 2**40))
def test_padding_fills_up_to_whole_blocks(size: int) -> None:
    assert (size + len(padding(size))) % 512 == 0
    assert len(padding(size)) < 512


@pytest.mark.parametrize(
    ("path", "extended"),
    [
        ("a" * 100, False),
        ("a" * 101, True),
        ("d" * 155 + "/" + "f" * 100, False),
        ("d" * 156 + "/" + "f" * 99, True),
        ("d/" * 100 + "f" * 50, False),
        ("d" * 20 + "/" + "f" * 101, True),
        ("grüße", True),
    ],
)
def test_pax_only_where_ustar_has_no_room(path: str, extended: bool) -> None:
    header = render_header(Entry(path=path, kind="file"))
    assert (len(header) > 512) is extended
    assert _read_back(header).name == path


@pytest.mark.parametrize("length", range(95, 105))
def test_a_folder_keeps_its_slash_at_the_edge_of_ustar(length: int) -> None:
    header = render_header(Entry(path="p/" + "d" * (length - 2), kind="directory", mode=0o755))
    assert _read_back(header).name == "p/" + "d" * (length - 2)
    assert _read_back(header).isdir()


@pytest.mark.parametrize("length", range(80, 130))
def test_pax_records_count_their_own_length(length: int) -> None:
    path = "ä" * length
    assert _read_back(render_header(Entry(path=path, kind="file"))).name == path


def test_eight_gigabytes_and_more_fit() -> None:
    for size in (8**11 - 1, 8**11, 8**11 + 1):
        assert _read_back(render_header(Entry(path="big", kind="file", size=size))).size == size


@pytest.mark.parametrize("entry", ["path\0", "\udcff"])
def test_what_tar_cannot_say_is_refused(entry: str) -> None:
    with pytest.raises(ImageError) as caught:
        render_header(Entry(path=entry, kind="file"))
    assert caught.value.code == "layer.bad-path"


@given(st.lists(_entries().filter(lambda e: e.kind == "file"), max_size=5))
def test_gnu_tar_lists_the_same(entries: list[Entry]) -> None:
    # GNU tar can't skip the content of a member that isn't there, so none has any.
    empty = [Entry(path=e.path, kind="file", mode=e.mode & 0o777) for e in entries]
    data = b"".join(render_header(entry) for entry in empty) + END
    listed = subprocess.run(
        ["tar", "--list", "--verbose", "--numeric-owner", "--quoting-style=literal", "--full-time"],
        input=data,
        capture_output=True,
        check=True,
        env={"TZ": "UTC", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )
    assert listed.stderr == b""
    expected = "".join(f"0/0 0 1970-01-01 00:00:00 {entry.path}\n" for entry in empty)
    lines = listed.stdout.decode().splitlines(keepends=True)
    assert "".join(" ".join(line.split(maxsplit=1)[1:]) for line in _squeeze(lines)) == expected


def _squeeze(lines: list[str]) -> list[str]:
    """Take out the columns' padding between owner and size."""
    out = []
    for line in lines:
        mode, owner, rest = line.split(" ", 2)
        out.append(f"{mode} {owner} {rest.lstrip(' ')}")
    return out
