"""Promises of splitting: together the parts are the whole, and none is much bigger than another."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from envbuild.layers.entry import Entry
from envbuild.layers.order import plan_entries
from envbuild.layers.split import split_entries

_PATHS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3).map(
    lambda names: "/".join([*names[:-1], f"{names[-1]}.file"])
)


@st.composite
def _entries(draw: st.DrawFn) -> tuple[Entry, ...]:
    sizes = draw(st.dictionaries(_PATHS, st.integers(0, 10**6), min_size=1, max_size=12))
    files = [Entry(path=path, kind="file", size=size) for path, size in sizes.items()]
    target = draw(st.sampled_from(sorted(sizes)))
    more = [
        Entry(path="empty", kind="directory", mode=0o700),
        Entry(path="a/soft", kind="symlink", link="b.file"),
        Entry(path="z/hard", kind="hardlink", link=target),
        Entry(path="z/harder", kind="hardlink", link=target),
    ]
    return plan_entries([files, more])


@given(_entries(), st.integers(1, 4))
def test_the_parts_are_the_whole(entries: tuple[Entry, ...], parts: int) -> None:
    split = [split_entries(entries, part=part, parts=parts) for part in range(parts)]
    assert plan_entries(split) == entries
    files = [e.path for part in split for e in part if e.kind != "directory"]
    assert sorted(files) == sorted(e.path for e in entries if e.kind != "directory")


@given(_entries(), st.integers(1, 4))
def test_each_part_can_be_unpacked_by_itself(entries: tuple[Entry, ...], parts: int) -> None:
    for part in range(parts):
        seen: set[str] = set()
        for entry in split_entries(entries, part=part, parts=parts):
            folder = entry.path.rpartition("/")[0]
            assert not folder or folder in seen
            assert entry.kind != "hardlink" or entry.link in seen
            seen.add(entry.path)


@given(_entries(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_order_of_entries_has_no_say(
    entries: tuple[Entry, ...], parts: int, shuffle: random.Random
) -> None:
    mixed = list(entries)
    shuffle.shuffle(mixed)
    for part in range(parts):
        expected = split_entries(entries, part=part, parts=parts)
        assert plan_entries([split_entries(mixed, part=part, parts=parts)]) == expected


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40), st.integers(1, 4))
def test_parts_differ_by_no_more_than_one_file(sizes: list[int], parts: int) -> None:
    files = [Entry(path=f"f{n}", kind="file", size=size) for n, size in enumerate(sizes)]
    loads = [
        sum(entry.size + 512 for entry in split_entries(files, part=part, parts=parts))
        for part in range(parts)
    ]
    assert max(loads) - min(loads) <= max(sizes) + 512
