"""The wheel that is chosen is the one that pip would install on the target."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.tags import sys_tags

from envbuild.errors import LockError
from envbuild.lock.wheel_choice import MACOS, WheelFile, choose_wheel, parse_glibc, rank_tags
from envbuild.spec.platforms import PLATFORMS
from tests.rig.pip_bench import MINOR, find_glibc, find_host


def _file(tag: str, sha256: str = "") -> WheelFile:
    filename = f"one-1.0-{tag}.whl"
    return WheelFile(
        name="one", version="1.0", filename=filename, url="", sha256=sha256 or tag, size=1
    )


def _choose(subdir: str, *tags: str, minor: str = "3.11", glibc: str = "2.28") -> str | None:
    ranks = rank_tags(PLATFORMS[subdir], minor, glibc, MACOS)
    found = choose_wheel(map(_file, tags), ranks)
    return found.sha256 if found else None


def test_the_tags_for_this_machine_are_those_that_pip_sees() -> None:
    ranks = rank_tags(find_host(), MINOR, f"2.{find_glibc()}", MACOS)
    mine = [tag for tag in sys_tags() if not tag.abi.endswith("t") or sys.abiflags == "t"]
    assert list(ranks) == list(dict.fromkeys(mine))


@pytest.mark.parametrize(
    ("subdir", "glibc", "tags", "best"),
    [
        ("linux-64", "2.36", ["py3-none-any", "cp311-cp311-manylinux_2_28_x86_64"], 1),
        ("linux-64", "2.36", ["cp38-abi3-manylinux2014_x86_64", "py3-none-any"], 0),
        ("linux-64", "2.36", ["cp311-cp311-manylinux1_x86_64", "cp311-abi3-linux_x86_64"], 0),
        (
            "linux-64",
            "2.27",
            ["cp311-cp311-manylinux_2_28_x86_64", "cp310-abi3-manylinux_2_17_x86_64"],
            1,
        ),
        (
            "linux-64",
            "2.28",
            ["cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-manylinux_2_28_x86_64"],
            1,
        ),
        (
            "linux-64",
            "2.28",
            ["cp311-cp311-musllinux_1_2_x86_64", "cp312-cp312-manylinux_2_17_x86_64"],
            None,
        ),
        ("linux-64", "2.28", ["cp312-abi3-manylinux_2_17_x86_64", "cp311-cp311-win_amd64"], None),
        ("linux-aarch64", "2.28", ["cp311-cp311-manylinux_2_17_x86_64.manylinux_2_17_aarch64"], 0),
        ("linux-aarch64", "2.28", ["cp311-cp311-manylinux1_aarch64"], None),
        ("osx-arm64", "", ["cp311-cp311-macosx_11_0_arm64", "cp311-cp311-macosx_14_0_arm64"], 0),
        ("osx-arm64", "", ["cp311-cp311-macosx_10_9_universal2", "py3-none-any"], 0),
        ("osx-arm64", "", ["cp311-cp311-macosx_10_9_x86_64"], None),
        ("osx-64", "", ["cp311-cp311-macosx_11_0_arm64", "cp311-cp311-macosx_10_9_x86_64"], 1),
        ("win-64", "", ["cp311-cp311-win32", "cp311-cp311-win_amd64"], 1),
        ("win-64", "", ["py2.py3-none-win_amd64", "py2-none-any"], 0),
    ],
)
def test_the_wheel_for_a_target(subdir: str, glibc: str, tags: list[str], best: int | None) -> None:
    assert _choose(subdir, *tags, glibc=glibc) == (None if best is None else tags[best])


def test_the_highest_build_number_wins() -> None:
    ranks = rank_tags(PLATFORMS["linux-64"], "3.11", "2.28", MACOS)
    names = [
        "one-1.0-py3-none-any.whl",
        "one-1.0-2-py3-none-any.whl",
        "one-1.0-10-py3-none-any.whl",
    ]
    files = [
        WheelFile(name="one", version="1.0", filename=n, url="", sha256=n, size=1) for n in names
    ]
    chosen = choose_wheel(files, ranks)
    assert chosen is not None
    assert chosen.filename == names[2]


def test_a_locked_wheel_stays_only_where_it_fits() -> None:
    ranks = rank_tags(PLATFORMS["linux-64"], "3.11", "2.28", MACOS)
    pure, best = _file("py3-none-any", "a"), _file("cp311-cp311-manylinux_2_17_x86_64", "b")
    foreign = _file("cp311-cp311-win_amd64", "c")
    assert choose_wheel([pure, best, foreign], ranks, locked=["a"]) == pure
    assert choose_wheel([pure, best, foreign], ranks, locked=["c"]) == best


def test_what_is_no_wheel_is_passed_over() -> None:
    ranks = rank_tags(PLATFORMS["linux-64"], "3.11", "2.28", MACOS)
    odd = WheelFile(name="one", version="1.0", filename="one.whl", url="", sha256="0", size=1)
    assert choose_wheel([odd], ranks) is None


FITTING = (
    "cp311-cp311-manylinux_2_28_x86_64.manylinux_2_17_x86_64",
    "cp311-abi3-manylinux_2_17_x86_64",
    "cp37-abi3-linux_x86_64",
    "cp311-none-any",
    "py3-none-any",
    "py2.py3-none-any",
)


@given(order=st.permutations(FITTING))
def test_the_order_of_an_index_does_not_count(order: list[str]) -> None:
    assert _choose("linux-64", *order) == FITTING[0]


@pytest.mark.parametrize("text", ["", "2", "3.1", "2.x", "36"])
def test_what_is_no_glibc_is_a_clear_error(text: str) -> None:
    with pytest.raises(LockError) as failure:
        parse_glibc(text)
    assert failure.value.code == "lock.glibc"


def test_a_patch_release_of_glibc_does_not_count() -> None:
    assert parse_glibc("2.36.1") == parse_glibc("2.36") == 36
