"""Judging answers: strict JSON, tolerance, and where a value differs."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.run.answers import (
    NotJsonError,
    find_difference,
    find_problem,
    parse_strict,
    plan_message,
)
from envbuild.run.http import Answer
from envbuild.spec.model_running import Expect, Request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(value=JSON)
def test_strict_json_comes_back_and_equals_itself(value: Any) -> None:
    read = parse_strict(json.dumps(value).encode())
    assert find_difference(value, read, 0.0) is None


@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b"[1, NaN]",
        b"-Infinity",
        b'{"a": 1, "a": 1}',
        b'{"b": {"a": 1, "a": 2}}',
        b"",
        b"{",
        b"'x'",
        b"[1,]",
        b"1 2",
        b"\xef\xbb\xbf1",
        b'"\xff"',
        b"\xff\xfe1\x00",
        b"[" * 100_000,
    ],
)
def test_what_is_no_strict_json_is_refused(body: bytes) -> None:
    with pytest.raises(NotJsonError):
        parse_strict(body)


@pytest.mark.parametrize(
    ("wanted", "got", "tolerance"),
    [
        (1, 1.0, 0.0),
        ([0.1, 0.2], [0.1000001, 0.2], 1e-3),
        ({"a": [1, {"b": 2}]}, {"a": [1.5, {"b": 1.5}]}, 0.5),
        ((1, 2), [1, 2], 0.0),
        ("x", "x", 1.0),
        (True, True, 0.0),
    ],
)
def test_equal_values_have_no_difference(wanted: Any, got: Any, tolerance: float) -> None:
    assert find_difference(wanted, got, tolerance) is None


@pytest.mark.parametrize(
    ("wanted", "got", "words"),
    [
        (1, 2, "`$` is 2, not 1"),
        (1, True, "`$` is true, not 1"),
        (True, 1, "`$` is 1, not true"),
        (0, False, "`$` is false, not 0"),
        ([1, 2], [1], "1 items, not 2"),
        ({"a": 1}, {}, "`$.a` is missing"),
        ({}, {"a": 1}, "`$.a` is not expected"),
        ({"a": [{"b": 1}]}, {"a": [{"b": 3}]}, "`$.a[0].b` is 3, not 1"),
        ([1], {"0": 1}, "not [1]"),
        ("x", "y", '`$` is "y", not "x"'),
        ("1", 1, '`$` is 1, not "1"'),
        (1, None, "`$` is null, not 1"),
    ],
)
def test_difference_says_where_and_what(wanted: Any, got: Any, words: str) -> None:
    assert words in str(find_difference(wanted, got, 0.0))


@given(wanted=st.floats(-100, 100), got=st.floats(-100, 100), tolerance=st.floats(0, 10))
def test_tolerance_is_the_greatest_distance(wanted: float, got: float, tolerance: float) -> None:
    near = math.fabs(wanted - got) <= tolerance
    assert (find_difference([wanted], [got], tolerance) is None) == near


def _answer(body: bytes = b"", status: int = 200, ms: float = 5.0, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=named, body=body, ms=ms)


@pytest.mark.parametrize(
    ("expect", "answer", "words"),
    [
        (Expect(), _answer(status=500, body=b"oh no"), "status 500 instead of 200: `oh no`"),
        (Expect(status=422), _answer(), "status 200 instead of 422"),
        (Expect(json=[1]), _answer(b"[2]"), "`$[0]` is 2, not 1"),
        (Expect(json=[1]), _answer(b"nope"), "no strict JSON"),
        (Expect(), _answer(b"[NaN]", content_type="application/json"), "NaN"),
        (Expect(), _answer(b"x", content_type="application/problem+json; charset=x"), "strict"),
        (Expect(contains="cat"), _answer(b"a dog"), "doesn't contain `cat`"),
        (Expect(max_ms=4), _answer(), "5 ms, allowed are 4 ms"),
        (Expect(), _answer(x_ms_run_function_failed="True"), "run() failed"),
    ],
)
def test_wrong_answers_are_told(expect: Expect, answer: Answer, words: str) -> None:
    assert words in str(find_problem(expect, answer))


@pytest.mark.parametrize(
    ("expect", "answer"),
    [
        (Expect(), _answer(b"NaN", content_type="text/plain")),
        (Expect(), _answer(b"", content_type="application/json")),
        (Expect(json=[1.0], tolerance=0.1), _answer(b"[1.05]")),
        (Expect(contains="é"), _answer("café".encode())),
        (Expect(max_ms=5), _answer()),
        (Expect(status=500), _answer(status=500, x_ms_run_function_failed="True")),
        (Expect(), _answer(x_ms_run_function_failed="False")),
    ],
)
def test_right_answers_pass(expect: Expect, answer: Answer) -> None:
    assert find_problem(expect, answer) is None


def test_number_beyond_every_float_is_a_difference() -> None:
    assert find_difference({"n": 1.5}, {"n": 10**400}, 0.1) is not None
    assert find_difference(10**400, 10**400, 0.1) is None


def test_time_is_not_judged_where_it_does_not_matter() -> None:
    assert find_problem(Expect(max_ms=1), _answer(), in_time=False) is None


@pytest.mark.parametrize(
    ("request_", "method", "body", "kind"),
    [
        (Request(json={"é": [1]}), "POST", '{"é": [1]}'.encode(), "application/json"),
        (Request(body="text"), "POST", b"text", None),
        (Request(path="/"), "GET", None, None),
        (Request(method="PUT", json=0), "PUT", b"0", "application/json"),
        (Request(json=[], headers={"content-type": "text/x"}), "POST", b"[]", None),
    ],
)
def test_requests_become_messages(
    request_: Request, method: str, body: bytes | None, kind: str | None
) -> None:
    message = plan_message(request_)
    assert (message.method, message.body) == (method, body)
    assert message.headers.get("Content-Type") == kind
