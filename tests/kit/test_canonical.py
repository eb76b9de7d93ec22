"""Promises of `kit.canonical`: one text per value, and a digest that any tool agrees with."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.kit.canonical import (
    CHUNK,
    canonical_json,
    digest_bytes,
    digest_file,
    digest_json,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=15,
)


def shuffle(value: object) -> object:
    """Return an equal value whose dictionaries were filled in another order."""
    if isinstance(value, dict):
        items = list(value.items())
        random.Random(len(items)).shuffle(items)
        return {key: shuffle(item) for key, item in items}
    return [shuffle(item) for item in value] if isinstance(value, list) else value


@given(JSON)
def test_the_text_says_the_value(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


@given(JSON)
def test_the_order_of_keys_does_not_matter(value: object) -> None:
    assert canonical_json(shuffle(value)) == canonical_json(value)
    assert digest_json(shuffle(value)) == digest_json(value)


@given(JSON, JSON)
def test_different_values_have_different_texts(one: object, other: object) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (canonical_json(one) == canonical_json(other)) is same


def test_the_text_is_the_one_that_was_promised() -> None:
    value = {"b": [True, None, 1], "a": {"ü": "\u2028"}, "c": ()}
    assert canonical_json(value) == '{"a":{"ü":"\u2028"},"b":[true,null,1],"c":[]}'.encode()


@pytest.mark.parametrize("value", [1.0, [0.5], {"a": {"b": float("nan")}}, (1, 2.5)])
def test_a_float_has_no_canonical_form(value: object) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


@pytest.mark.parametrize("value", [{1: "x"}, {"a": {None: 1}}, {"a": b"bytes"}, {"a": {1, 2}}])
def test_what_json_can_not_say_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1])
def test_a_files_digest_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "file").write_bytes(data[:size])
    wanted = "sha256:" + hashlib.sha256(data[:size]).hexdigest()
    assert digest_file(tmp_path / "file") == digest_bytes(data[:size]) == wanted
