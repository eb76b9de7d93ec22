"""Promises of `oci.token`: challenges are read as RFC 9110 writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.oci.token import Challenge, parse_challenges

TOKEN = st.from_regex(r"[A-Za-z0-9-]{1,10}", fullmatch=True)
VALUE = st.text(
    st.characters(codec="ascii", exclude_characters="\r\n", min_codepoint=32), max_size=20
)


def quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@given(
    challenges=st.lists(
        st.tuples(TOKEN, st.dictionaries(TOKEN.map(str.lower), VALUE, min_size=1, max_size=4)),
        max_size=3,
    )
)
def test_what_is_written_is_read(challenges: list[tuple[str, dict[str, str]]]) -> None:
    header = ", ".join(
        f"{scheme} {','.join(f'{name}={quote(value)}' for name, value in fields.items())}"
        for scheme, fields in challenges
    )
    wanted = [Challenge(scheme=s.lower(), parameters=fields) for s, fields in challenges]
    assert list(parse_challenges(header)) == wanted


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ("Basic realm=plain", [("basic", {"realm": "plain"})]),
        (
            'Bearer realm="https://a.example/token",service="a b",scope="repository:x:pull,push"',
            [
                (
                    "bearer",
                    {
                        "realm": "https://a.example/token",
                        "service": "a b",
                        "scope": "repository:x:pull,push",
                    },
                )
            ],
        ),
        (
            'Basic realm="x", Bearer realm="y" , error = "invalid_token"',
            [("basic", {"realm": "x"}), ("bearer", {"realm": "y", "error": "invalid_token"})],
        ),
    ],
)
def test_what_registries_send_is_understood(
    header: str, wanted: list[tuple[str, dict[str, str]]]
) -> None:
    found = [(c.scheme, dict(c.parameters)) for c in parse_challenges(header)]
    assert found == wanted


@given(st.text(max_size=60))
def test_any_header_is_survived(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme
