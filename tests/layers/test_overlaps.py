"""Promises about packages that bring the same path: one order, one winner, a few words."""

from __future__ import annotations

import re
from dataclasses import replace
from email.parser import HeaderParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.errors import ImageError
from envbuild.layers.archive import body_of_bytes
from envbuild.layers.entry import Entry
from envbuild.layers.order import Clash, Trace, find_clashes, plan_entries
from envbuild.layers.overlaps import (
    Contents,
    check_clashes,
    describe_contents,
    find_overruled,
    order_contents,
    order_groups,
    parse_contents,
    pick_entries,
    render_contents,
    summarise_clashes,
)
from tests.rig.locks import wheel as make_wheel


def _file(path: str, data: bytes = b"") -> Entry:
    return Entry(path=path, kind="file", size=len(data), body=body_of_bytes(data))


def _bring(name: str, *paths: str, needs: tuple[str, ...] = (), manager: str = "wheel") -> Contents:
    traces = tuple(Trace(path=path, kind="file", mark=f"{manager} {name}") for path in paths)
    return Contents(manager=manager, name=name, needs=needs, traces=traces)  # type: ignore[arg-type]


def _names(*contents: Contents) -> list[str]:
    return [one.name for one in order_contents(contents)]


@pytest.mark.parametrize("manager", ["conda", "wheel"])
def test_what_is_needed_comes_first_and_else_the_end_of_the_alphabet(manager: str) -> None:
    several = [_bring(name, manager=manager) for name in "abc"]
    assert _names(*several) == ["c", "b", "a"]
    needy = _bring("c", needs=("b", "nowhere"), manager=manager)
    assert _names(*several[:2], needy) in (["b", "a", "c"], ["b", "c", "a"])


def test_wheels_count_over_conda_and_conda_over_debian() -> None:
    several = [_bring("a", manager=manager) for manager in ("wheel", "debian", "conda")]
    assert [one.manager for one in order_contents(several)] == ["debian", "conda", "wheel"]


_graphs = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg"), max_size=3), min_size=1
)


@given(_graphs, st.sampled_from(["conda", "wheel"]), st.randoms())
def test_every_package_has_one_place_whatever_the_order_and_the_circles(
    graph: dict[str, list[str]], manager: str, chance: object
) -> None:
    several = [_bring(n, needs=tuple(needs), manager=manager) for n, needs in graph.items()]
    ordered = _names(*several)
    assert sorted(ordered) == sorted(graph)
    chance.shuffle(several)  # type: ignore[attr-defined]
    assert _names(*several) == ordered


@given(_graphs, st.sampled_from(["conda", "wheel"]))
def test_without_circles_needs_come_before_who_needs_them(
    graph: dict[str, list[str]], manager: str
) -> None:
    straight = {name: tuple(n for n in needs if n < name) for name, needs in graph.items()}
    ordered = _names(*(_bring(n, needs=s, manager=manager) for n, s in straight.items()))
    for name, needs in straight.items():
        assert all(ordered.index(n) < ordered.index(name) for n in needs if n in ordered)


def test_a_layers_artifacts_are_written_in_the_order_of_installation() -> None:
    wheels = [make_wheel(name) for name in ("a", "b", "c")]
    papers = ["Name: a\n", "Requires-Dist: A ; python_version > '3'\n", "Requires-Dist: b[x]>1\n"]
    groups = [[_file(f"s/{n}.dist-info/METADATA", p.encode())] for n, p in enumerate(papers)]
    assert order_groups(wheels, groups) == (0, 1, 2)
    assert order_groups(wheels[1:], groups[1:]) == (0, 1)
    assert order_groups(wheels, [groups[0]] * 3) == (2, 1, 0)
    assert order_groups(wheels[:1], groups[:1]) == (0,)


def test_only_what_lies_wrong_is_overruled() -> None:
    first, second = _bring("a", "x", "only"), _bring("b", "x")
    assert find_overruled([second, first]) == {}
    assert find_overruled([first, second]) == {"a (wheel)": ("x",)}
    same = replace(second, traces=(first.traces[0],))
    assert find_overruled([first, same]) == {}


def test_a_hard_link_is_picked_as_the_file_that_it_is() -> None:
    target = _file("lib/a", b"1")
    link = Entry(path="lib/b", kind="hardlink", link="lib/a")
    assert pick_entries([target, link, _file("c")], ["lib/b", "nowhere"]) == (
        replace(target, path="lib/b"),
    )


def test_a_folder_against_a_file_names_both_and_what_to_do() -> None:
    one = (Trace(path="site/x", kind="file", mark="1"),)
    other = (Trace(path="site/x/y.py", kind="file", mark="2"),)
    clashes = find_clashes({"one": one, "other": other})
    with pytest.raises(ImageError) as caught:
        check_clashes(clashes)
    assert caught.value.code == "layer.clash"
    assert all(name in caught.value.message for name in ("`site/x`", "`one`", "`other`"))
    assert caught.value.hint
    check_clashes([replace(clash, kind="content") for clash in clashes])


def test_within_a_layer_a_folder_against_a_file_names_both_too() -> None:
    groups = [[_file("site/x")], [_file("site/z")], [_file("site/x/y.py")]]
    with pytest.raises(ImageError, match="`c` brings `site/x` as a folder, and `a` as a file"):
        plan_entries(groups, names=["a", "b", "c"])


def test_a_summary_says_who_brings_what_and_whose_counts() -> None:
    several = [_bring(name, "tests/__init__.py") for name in ("a", "b", "c")]
    clashes = find_clashes({one.name: one.traces for one in order_contents(several)})
    assert summarise_clashes(clashes) == (
        "`tests/__init__.py`: brought by `c`, `b` and `a`; `a`'s counts",
    )
    case = Clash(path="site/crypto", first="one", second="two", kind="case")
    (line,) = summarise_clashes([case])
    assert "`one` and `two` spell it" in line
    assert summarise_clashes([]) == ()


def test_a_long_summary_is_cut() -> None:
    many = [Clash(path=f"f{n}", first="a", second="b", kind="content") for n in range(30)]
    lines = summarise_clashes(many)
    assert len(lines) == 6
    assert lines[-1] == "and 25 more paths"


_traces = st.builds(
    Trace, path=st.text(), kind=st.sampled_from(["file", "symlink"]), mark=st.text()
)


@given(
    st.lists(
        st.builds(
            Contents,
            manager=st.sampled_from(["conda", "wheel", "debian"]),
            name=st.text(),
            needs=st.lists(st.text(), max_size=2).map(tuple),
            traces=st.lists(_traces, max_size=3).map(tuple),
        ),
        max_size=3,
    ).map(tuple)
)
def test_contents_come_back_as_they_were_kept(contents: tuple[Contents, ...]) -> None:
    assert parse_contents(render_contents(contents)) == contents


@pytest.mark.parametrize("data", [b"", b"x\x9cnonsense", render_contents(())[:-1]])
def test_what_is_no_contents_is_said_so(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_contents(data)


_paper_lines = st.sampled_from(
    ["Name: a", "Requires-Dist: b>1", "requires-dist:c ; extra == 'x'", "Requires-Dist:", "  d",
     "\tfolded; extra", "no header", "", "From here", ": nameless", "License: \u2028x", "é: y",
     "Requires-Dist: e\x0b; extra", "Requires Dist: f"],
)  # fmt: skip


@given(st.lists(st.tuples(_paper_lines, st.sampled_from(["\n", "\r\n", "\r"])), max_size=8))
def test_needs_are_read_as_the_email_parser_reads_headers(lines: list[tuple[str, str]]) -> None:
    text = "".join(line + end for line, end in lines)
    parsed = HeaderParser().parsestr(text).get_all("Requires-Dist") or ()
    wanted = {
        name[0].lower() for wish in parsed
        if "extra" not in wish.partition(";")[2] and (name := re.match(r"\s*[A-Za-z0-9]+", wish))
    }  # fmt: skip
    paper = _file("a.dist-info/METADATA", text.encode())
    needs = describe_contents(make_wheel("none", "1.0"), [paper]).needs
    assert set(needs) == {name.strip() for name in wanted}
