"""Lines of values: exact, whatever else stands in the file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.spec.keys import KeyPath, parse_key
from envbuild.spec.lines import find_lines

TEXT = '''\
# a comment with python = "3.9"
description = """
python = "no"
[conda]
"""
python = "3.11.*"   # line 6

[conda]
dependencies = [
  "numpy",   # line 10

  "scipy", "pandas",
]
[conda.virtual-packages]
glibc = "2.36"

[[smoke.request]]
json = { a = [1, 2], "b.c" = 3 }
[[smoke.request]]
expect.status = 200
headers = { A = """
x""" }
path = "/"
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("description", 2),
        ("python", 6),
        ("conda", 8),
        ("conda.dependencies", 9),
        ("conda.dependencies[0]", 10),
        ("conda.dependencies[1]", 12),
        ("conda.dependencies[2]", 12),
        ("conda.dependencies[7]", 9),
        ("conda.channels", 8),
        ("conda.virtual-packages", 14),
        ("conda.virtual-packages.glibc", 15),
        ("smoke", 17),
        ("smoke.request", 17),
        ("smoke.request[0]", 17),
        ("smoke.request[0].json.a[1]", 18),
        ('smoke.request[0].json."b.c"', 18),
        ("smoke.request[1]", 19),
        ("smoke.request[1].expect.status", 20),
        ("smoke.request[1].headers.A", 21),
        ("smoke.request[1].path", 23),
        ("train", None),
    ],
)
def test_value_has_the_line_on_which_it_begins(key: str, line: int | None) -> None:
    place = parse_key(key)
    assert find_lines(TEXT, [place]).get(place) == line


@given(st.lists(st.sampled_from(["", "# x", "[t{}]", "k{} = 1", 'k{} = [\n"a",\n]']), max_size=20))
def test_lines_agree_with_the_text(pieces: list[str]) -> None:
    text = ""
    expected: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for n, piece in enumerate(pieces):
        line = text.count("\n") + 1
        if piece.startswith("["):
            table = (f"t{n}",)
            expected[table] = line
        elif piece.startswith("k"):
            expected[(*table, f"k{n}")] = line
        text += piece.format(n) + "\n"
    assert find_lines(text, expected) == expected


def test_text_that_is_no_toml_or_too_long_has_no_lines() -> None:
    assert find_lines("a = ", [("a",)]) == {}
    assert find_lines("a = 1\n" + "\n" * 600, [("a",)]) == {}
