"""Promises of merged layers: one order, nothing missing, and no clash that nobody hears of."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.errors import ImageError
from envbuild.layers.archive import body_of_bytes
from envbuild.layers.entry import Entry, Piece
from envbuild.layers.order import Clash, Trace, find_clashes, list_entries, plan_entries


def _file(path: str, data: bytes = b"x", mode: int = 0o644) -> Entry:
    return Entry(path=path, kind="file", mode=mode, size=len(data), body=body_of_bytes(data))


def _folder(path: str, mode: int = 0o755) -> Entry:
    return Entry(path=path, kind="directory", mode=mode)


def _link(path: str, target: str) -> Entry:
    return Entry(path=path, kind="symlink", mode=0o777, link=target)


def _hardlink(path: str, target: str) -> Entry:
    return Entry(path=path, kind="hardlink", link=target)


_NAMES = st.sampled_from(["a", "a-b", "a.b", "b", "A", "ä", "a0"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=4).map("/".join)


@given(st.sets(_PATHS, max_size=20), st.randoms())
def test_parents_come_first_and_input_order_does_not_matter(
    paths: set[str], random: object
) -> None:
    leaves = [p for p in paths if not any(q.startswith(p + "/") for q in paths)]
    entries = [_file(path) for path in leaves]
    planned = plan_entries([entries])
    random.shuffle(entries)  # type: ignore[attr-defined]
    again = plan_entries([[entry] for entry in entries])
    assert [e.path for e in planned] == [e.path for e in again]
    seen = {""}
    for entry in planned:
        assert entry.path.rpartition("/")[0] in seen
        seen.add(entry.path)
    assert {e.path for e in planned if e.kind == "file"} == set(leaves)
    assert len(planned) == len({e.path for e in planned})


def test_folders_that_nobody_brings_are_made() -> None:
    made = plan_entries([[_file("opt/env/bin/x")]])
    assert made[:3] == (_folder("opt"), _folder("opt/env"), _folder("opt/env/bin"))


def test_a_folder_keeps_the_mode_of_who_brings_it_first() -> None:
    groups = [[_file("root/a")], [_folder("root", 0o700)], [_folder("root", 0o755)]]
    assert plan_entries(groups)[0] == _folder("root", 0o700)


def test_hard_links_come_after_their_targets() -> None:
    planned = plan_entries([[_hardlink("bin/a", "lib/z"), _file("lib/z")]])
    assert [e.path for e in planned] == ["bin", "lib", "lib/z", "bin/a"]


def test_the_last_group_has_its_way_with_a_file() -> None:
    planned = plan_entries([[_file("f", b"1")], [_file("f", b"22")], [_link("f", "g")]])
    assert planned == (_link("f", "g"),)


@pytest.mark.parametrize(
    "groups",
    [
        [[_file("a")], [_folder("a")]],
        [[_folder("a")], [_link("a", "b")]],
        [[_link("lib64", "lib")], [_file("lib64/x")]],
        [[_file("a/b")], [_file("a")]],
    ],
)
def test_a_folder_and_a_file_in_one_place_are_refused(groups: list[list[Entry]]) -> None:
    with pytest.raises(ImageError) as caught:
        plan_entries(groups)
    assert caught.value.code == "layer.clash"


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "./a", "a/.", "..", "a/../b", "a/.."])
def test_a_path_that_is_not_clean_is_refused(path: str) -> None:
    with pytest.raises(ImageError) as caught:
        plan_entries([[_file(path)]])
    assert caught.value.code == "layer.bad-path"


@pytest.mark.parametrize("path", ["...", ".a", "a..", "a/.b/..c"])
def test_dots_in_names_are_fine(path: str) -> None:
    assert plan_entries([[_file(path)]])[-1].path == path


def _clashes(**artifacts: list[Entry]) -> tuple[Clash, ...]:
    return find_clashes({name: list_entries(entries) for name, entries in artifacts.items()})


def test_the_same_content_is_no_clash() -> None:
    plain = _file("google/__init__.py", b"shared\n")
    packed = dataclasses.replace(
        plain, body=lambda: Piece(data=iter(()), deflated=True, size=7, crc32=0x3C74A2B3)
    )
    crc32 = int(list_entries([plain])[0].mark.split()[-1], 16)
    same = dataclasses.replace(
        packed, body=lambda: Piece(data=iter(()), deflated=True, size=7, crc32=crc32)
    )
    assert _clashes(one=[plain], two=[_file("google/__init__.py", b"shared\n")]) == ()
    assert _clashes(one=[plain], two=[same]) == ()
    assert len(_clashes(one=[plain], two=[packed])) == 1


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (_file("p/f", b"1"), _file("p/f", b"2"), "content"),
        (_file("p/f", b"1"), _file("p/f", b"1", mode=0o755), "content"),
        (_file("p/f"), _link("p/f", "x"), "content"),
        (_link("p/f", "y"), _link("p/f", "x"), "content"),
        (_file("p/f"), _folder("p/f"), "type"),
        (_link("p/f", "g"), _file("p/f/x"), "type"),
        (_file("p/F"), _file("p/f"), "case"),
    ],
)
def test_a_clash_names_path_and_artifacts(first: Entry, second: Entry, kind: str) -> None:
    expected = Clash(path="p/f", first="one", second="two", kind=kind)  # type: ignore[arg-type]
    assert _clashes(one=[first], two=[second]) == (expected,)


def test_folders_that_differ_in_case_are_reported_once() -> None:
    found = _clashes(
        one=[_file("site/Crypto/a.py"), _file("site/Crypto/b.py")],
        two=[_file("site/crypto/a.py"), _file("site/crypto/b.py")],
    )
    assert found == (Clash(path="site/crypto", first="one", second="two", kind="case"),)


def test_shared_folders_and_an_artifacts_own_case_are_no_clash() -> None:
    terminfo = [_file("share/terminfo/A/Apple"), _file("share/terminfo/a/apple")]
    assert _clashes(ncurses=terminfo, other=[_folder("share", 0o700)]) == ()


def test_a_hard_link_clashes_as_the_file_that_it_is() -> None:
    linked = [_file("lib/a", b"1"), _hardlink("lib/b", "lib/a")]
    assert _clashes(one=linked, two=[_file("lib/b", b"1")]) == ()
    assert len(_clashes(one=linked, two=[_file("lib/b", b"2")])) == 1


def test_traces_are_sorted_and_small() -> None:
    traces = list_entries([_file("b", b"1"), _folder("a")])
    assert traces == (
        Trace(path="a", kind="directory"),
        Trace(path="b", kind="file", mark="644 1 83dcefb7"),
    )
