"""Promises of prefix replacement: conda's results, in whatever steps the content comes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.layers.prefix import PrefixTooLongError, replace_in_binary, replace_in_text

_OLD, _NEW = "/old/placehold", "/opt/env"
_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")

_UTF_8 = [b"\0", b"/old/place", b"hold", b"/old/placehold", b"/lib", b":", b"x", b"\n", b"\xff"]
_WIDE = [_OLD.encode(e) for e in _ENCODINGS[1:]]
_WIDE += [bytes(1), bytes(2), bytes(4), "/lib".encode("utf-16-le"), "x".encode("utf-32-le")]
_CONTENT = st.lists(st.sampled_from([*_UTF_8, *_WIDE]), max_size=30).map(b"".join)


def _steps(data: bytes, step: int) -> Iterator[bytes]:
    return (data[i : i + step] for i in range(0, len(data), step))


_Replace = Callable[[Iterable[bytes], str, str], Iterator[bytes]]


def _run(replace: _Replace, data: bytes, step: int) -> bytes:
    return b"".join(replace(_steps(data, step), _OLD, _NEW))


def _text_as_conda(data: bytes) -> bytes:
    for encoding in _ENCODINGS:
        data = data.replace(_OLD.encode(encoding), _NEW.encode(encoding))
    return data


def _binary_as_rattler(data: bytes) -> bytes:
    """One byte a unit: conda's pattern, and py-rattler's for a string that nothing ends."""
    old, new = _OLD.encode(), _NEW.encode()

    def rewrite(match: re.Match[bytes]) -> bytes:
        return match[0].replace(old, new).ljust(len(match[0]), b"\0")

    return re.sub(re.escape(old) + rb"[^\0]*", rewrite, data, flags=re.DOTALL)


@given(_CONTENT, st.integers(1, 40))
def test_text_is_replaced_as_a_whole(data: bytes, step: int) -> None:
    assert _run(replace_in_text, data, step) == _text_as_conda(data)


@given(st.lists(st.sampled_from(_UTF_8), max_size=30).map(b"".join), st.integers(1, 40))
def test_strings_are_rewritten_in_place(data: bytes, step: int) -> None:
    assert _run(replace_in_binary, data, step) == _binary_as_rattler(data)


@given(_CONTENT, st.integers(1, 40))
def test_steps_and_length_do_not_matter(data: bytes, step: int) -> None:
    replaced = _run(replace_in_binary, data, step)
    assert len(replaced) == len(data)
    assert replaced == b"".join(replace_in_binary([data], _OLD, _NEW))


@pytest.mark.parametrize("encoding", _ENCODINGS)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_wide_strings_are_rewritten_too(encoding: str, step: int) -> None:
    def wide(text: str) -> bytes:
        return text.encode(encoding)

    data = wide(f"a\0{_OLD}/lib:{_OLD}\0b\0{_OLD}\0")
    fill = "\0" * (len(_OLD) - len(_NEW))
    expected = wide(f"a\0{_NEW}/lib:{_NEW}{fill}{fill}\0b\0{_NEW}{fill}\0")
    assert _run(replace_in_binary, data, step) == expected


def test_a_prefix_that_does_not_fit_is_an_error_only_where_it_is_needed() -> None:
    long = "/a/much/longer/prefix/than/before"
    assert b"".join(replace_in_binary([b"nothing\0here"], _OLD, long)) == b"nothing\0here"
    with pytest.raises(PrefixTooLongError):
        list(replace_in_binary([b"x" + _OLD.encode() + b"\0"], _OLD, long))


def test_a_long_string_takes_linear_time() -> None:
    # 64 MB that no zero ends, in 256 steps: reading it anew at each step would take minutes.
    step = b"x" * (256 << 10)
    size = sum(len(d) for d in replace_in_binary([_OLD.encode(), *[step] * 256], _OLD, _NEW))
    assert size == len(_OLD) + 256 * len(step)
