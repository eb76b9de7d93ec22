"""Debian's versions are ordered as dpkg orders them, and relations mean what Policy says."""

from __future__ import annotations

import itertools
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuild.lock.debian_relations import (
    Relation,
    parse_provides,
    parse_relations,
    version_key,
)
from tests.rig.need import missing

# Few letters, so that random versions are near each other.
VERSIONS = st.from_regex(r"(?:[0-2]:)?[0-2][019aAz.+~]{0,5}(?:-[019a.+~]{1,4})?", fullmatch=True)


def _dpkg_says(left: str, operator: str, right: str) -> bool:
    tool = shutil.which("dpkg")
    if tool is None:
        missing("dpkg", "run these tests on Debian")
    argv = [tool, "--compare-versions", left, operator, right]
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0


@given(left=VERSIONS, right=VERSIONS)
@settings(max_examples=150, deadline=None)
def test_versions_are_ordered_as_dpkg_orders_them(left: str, right: str) -> None:
    ours = (version_key(left) > version_key(right)) - (version_key(left) < version_key(right))
    theirs = _dpkg_says(left, "gt", right) - _dpkg_says(left, "lt", right)
    assert ours == theirs


def test_a_known_order_of_versions_holds() -> None:
    rising = ["0~~", "0~", "0", "0a", "0+", "1a", "1+", "1.0~rc1-1", "1.0-1", "1.0-1+b1", "1.0-2"]
    rising += ["1.0.1-1", "1.9", "1.10", "2.36-9+deb12u9", "2.36-9+deb12u10", "1:0.1", "2:0"]
    for left, right in itertools.pairwise(rising):
        assert version_key(left) < version_key(right), (left, right)


@pytest.mark.parametrize(("left", "right"), [("1.0", "1.0-0"), ("0:1", "1"), ("1.01", "1.1")])
def test_versions_that_dpkg_takes_for_equal_are_equal(left: str, right: str) -> None:
    assert version_key(left) == version_key(right)
    assert _dpkg_says(left, "eq", right)


@given(operator=st.sampled_from(["<<", "<=", "=", ">=", ">>"]), left=VERSIONS, right=VERSIONS)
@settings(max_examples=50, deadline=None)
def test_a_constraint_admits_what_dpkg_admits(operator: str, left: str, right: str) -> None:
    relation = Relation(name="a", operator=operator, version=right)
    assert relation.admits(left) == _dpkg_says(left, operator, right)


def test_a_field_of_relations_is_read_whole() -> None:
    groups = parse_relations(
        "libc6 (>= 2.36), awk:any | mawk,\n python3:any (<< 3.12) ,debconf(>=1)"
    )
    assert [[str(r) for r in group] for group in groups] == [
        ["libc6 (>= 2.36)"],
        ["awk", "mawk"],
        ["python3 (<< 3.12)"],
        ["debconf (>= 1)"],
    ]
    assert groups[1][0].qualifier == "any"
    assert parse_relations("") == ()


def test_obsolete_operators_mean_or_equal() -> None:
    ((relation,),) = parse_relations("a (< 2)")
    assert relation.operator == "<="
    assert relation.admits("2")


@pytest.mark.parametrize("text", ["a (2)", "a (>= )", "A b", "(>= 1)", "a (~ 1)"])
def test_what_is_no_relation_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_relations(text)


def test_a_provided_version_counts_and_its_absence_too() -> None:
    assert parse_provides("a (= 2.0), b") == {"a": "2.0", "b": ""}
    wanted = Relation(name="a", operator=">=", version="1.5")
    assert wanted.admits_provided("2.0")
    assert not wanted.admits_provided("1.0")
    assert not wanted.admits_provided("")
    assert Relation(name="a").admits_provided("")
