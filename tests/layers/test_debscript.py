"""Scripts are read as text: fixed words are found wherever they stand, and nothing ever runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from envbuild.layers.debscript import is_fixed, read_commands


def _read(script: str) -> list[str]:
    return [" ".join(words) for words in read_commands(script)]


def test_commands_are_found_between_separators() -> None:
    assert _read("a 1 && b 2 || c 3; d 4 | e 5") == ["a 1", "b 2", "c 3", "d 4", "e 5"]
    assert _read("if x; then\n  a\nelse\n  b\nfi") == ["if x", "a", "b", "fi"]
    assert _read("! a") == ["a"]


def test_variables_with_fixed_values_are_put_in() -> None:
    script = 'one=1\nexport two="$one 2"\nthree=$(date)\na $one "$two" ${one}x $three $four\n'
    assert _read(script) == ["a 1 1 2 1x $three $four"]


def test_a_value_may_go_over_several_lines() -> None:
    assert _read('list="a\n  b \\\n  c"\nrun $list') == ["run a b c"]


def test_loops_over_fixed_lists_are_followed() -> None:
    assert _read("for i in a b; do\n  x $i\ndone\ny $i") == ["x a", "x b", "y b"]
    assert _read("for i in a b; do x $i; done") == ["x a", "x b"]
    assert _read("for i in 1 2; do\nfor j in a b\ndo\n x $i$j\ndone\ndone") == [
        "x 1a", "x 1b", "x 2a", "x 2b",
    ]  # fmt: skip
    assert _read("for i in `ls`; do\n x $i\ndone")[-2:] == ["x $i", "done"]


def test_what_is_switched_off_is_passed_over() -> None:
    assert _read("if false; then\n if x; then\n  a\n fi\nfi\nb") == ["b"]


def test_comments_and_documents_are_no_commands() -> None:
    assert _read("# a\nb # c\ncat <<END\nd\nEND\ne") == ["b", "cat", "END", "e"]


def test_words_that_must_be_run_are_not_fixed() -> None:
    assert is_fixed(["a", "b c"])
    assert not any(is_fixed([word]) for word in ("$a", "`a`", "x$(a)"))


@given(st.text(alphabet="ab $'\"\\\n;|&<>()#=`{}", max_size=40))
def test_any_text_can_be_read(text: str) -> None:
    assert all(words for words in read_commands(text))
