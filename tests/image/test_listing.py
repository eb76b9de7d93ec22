"""Two packages that bring one path: who counts is said, and what can't be is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuild.errors import ImageError
from envbuild.image.listing import check_overlaps, list_files, write_listing
from envbuild.layers.archive import body_of_bytes
from envbuild.layers.entry import Entry
from tests.rig.locks import conda, wheel

KEYS = ["sha256:" + digit * 64 for digit in "123"]


def _file(path: str, content: bytes = b"x") -> Entry:
    return Entry(path=path, kind="file", size=len(content), body=body_of_bytes(content))


def _link(path: str, target: str) -> Entry:
    return Entry(path=path, kind="symlink", link=target)


def test_the_upper_layer_counts_and_that_is_said(tmp_path: Path) -> None:
    one = [_file("lib/a.py", b"1"), _file("lib/same.py"), _link("lib/l", "x")]
    other = [_file("lib/a.py", b"22"), _file("lib/same.py"), _link("lib/l", "y")]
    write_listing(tmp_path, KEYS[0], [(conda("low"), list_files(one))])
    write_listing(tmp_path, KEYS[1], [(wheel("high"), list_files(other))])
    (line,) = check_overlaps(tmp_path, KEYS)
    assert line == (
        "low (conda) and high (pip) both bring `lib/a.py`, `lib/l`: that of high (pip) counts"
    )
    (turned,) = check_overlaps(tmp_path, [KEYS[1], KEYS[0]])
    assert turned.endswith("that of low (conda) counts")


def test_layers_without_a_list_and_damaged_lists_are_passed_over(tmp_path: Path) -> None:
    write_listing(tmp_path, KEYS[0], [(wheel("a"), list_files([_file("f", b"1")]))])
    write_listing(tmp_path, KEYS[1], [(wheel("b"), list_files([_file("f", b"22")]))])
    file = tmp_path / f"{'2' * 64}.json"
    for junk in (b"", b"{", b"[1]", b'["a"]'):
        file.write_bytes(junk)
        assert check_overlaps(tmp_path, KEYS) == ()


@pytest.mark.parametrize("turned", [False, True])
def test_a_folder_where_another_has_a_file_is_refused(tmp_path: Path, turned: bool) -> None:
    write_listing(tmp_path, KEYS[0], [(wheel("a"), list_files([_file("lib/x")]))])
    write_listing(tmp_path, KEYS[1], [(wheel("b"), list_files([_file("lib/x/y.py")]))])
    with pytest.raises(ImageError) as caught:
        check_overlaps(tmp_path, KEYS[1::-1] if turned else KEYS)
    assert caught.value.code == "layer.clash"
    assert "`lib/x`" in caught.value.message
    assert "a (pip)" in caught.value.message
    assert "b (pip)" in caught.value.message


def test_a_link_to_the_folder_is_no_clash(tmp_path: Path) -> None:
    write_listing(tmp_path, KEYS[0], [(conda("a"), list_files([_link("lib64", "lib")]))])
    write_listing(tmp_path, KEYS[1], [(wheel("b"), list_files([_file("lib64/y.so")]))])
    assert check_overlaps(tmp_path, KEYS) == ()
