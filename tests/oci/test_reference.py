"""Promises of `oci.reference`: Docker's grammar and completion, and back again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.errors import RegistryError
from envbuild.oci.reference import Reference, parse_reference

SHA = "sha256:" + "f" * 64

PART = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
HOST = st.from_regex(
    r"(localhost|[a-z0-9]{1,5}(\.[a-z0-9]{1,5}){1,2}|\[[0-9a-f]{1,4}(:[0-9a-f]{0,4}){1,3}\])(:[1-9][0-9]{0,3})?",
    fullmatch=True,
)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
DIGEST = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)


@given(
    host=HOST,
    parts=st.lists(PART, min_size=1, max_size=4),
    tag=st.none() | TAG,
    digest=st.none() | DIGEST,
)
def test_a_complete_reference_comes_back_as_it_was(
    host: str, parts: list[str], tag: str | None, digest: str | None
) -> None:
    reference = Reference(
        registry=host,
        repository="/".join(parts),
        tag=tag if tag or digest else "latest",
        digest=digest,
    )
    assert parse_reference(str(reference)) == reference


@given(text=st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    code = ""
    try:
        found = parse_reference(text)
    except RegistryError as error:
        code = error.code
    assert code == "reference.invalid" or parse_reference(str(found)) == found


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:12", "docker.io/library/debian:12"),
        ("team/name", "docker.io/team/name:latest"),
        ("docker.io/debian:12", "docker.io/library/debian:12"),
        ("index.docker.io/team/name", "docker.io/team/name:latest"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("localhost:5000/a/b:C", "localhost:5000/a/b:C"),
        ("test:5000/repo", "test:5000/repo:latest"),
        ("test.com:5000", "docker.io/library/test.com:5000"),
        ("127.0.0.1:5000/x@" + SHA, "127.0.0.1:5000/x@" + SHA),
        ("h.example.com/a:t@" + SHA, "h.example.com/a:t@" + SHA),
        ("[2001:db8::1]:5000/repo:tag", "[2001:db8::1]:5000/repo:tag"),
        ("xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com/myimage:xn--n3h.com"),
        ("Host/name", "Host/name:latest"),
        ("foo/foo_bar.com:8080", "docker.io/foo/foo_bar.com:8080"),
    ],
)
def test_a_short_reference_is_completed_as_docker_does(text: str, complete: str) -> None:
    assert str(parse_reference(text)) == complete


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":tag",
        "@" + SHA,
        "Uppercase:tag",
        "test:5000/Uppercase/lower:tag",
        "h.example.com/team/Name",
        "aa/asdf$$^/aa",
        "h.example.com/",
        "h.example.com//a",
        "a:",
        "a:-tag",
        "a:" + "t" * 129,
        "a@sha256:ffff",
        "a@sha512:" + "f" * 128,
        "a@" + SHA.upper(),
        "a@" + SHA + "@" + SHA,
        "a:t:u",
        "[2001:db8::1]",
        "[fe80::1%eth0]:5000/repo",
        "https://h.example.com/a",
        "localhost:99999/a",
        "h.example.com:0/a",
        "f" * 64,
        "a/" * 128 + "a:tag",
        "a b",
        "a\n",
        "a.-b",
        "-a",
    ],
)
def test_what_docker_refuses_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(RegistryError) as caught:
        parse_reference(text)
    assert caught.value.code == "reference.invalid"
    assert "registry.example.com/team/name:tag" in str(caught.value.hint)


def test_a_digest_decides_over_a_tag() -> None:
    assert parse_reference(f"h.example.com/a:t@{SHA}").target == SHA
    assert parse_reference("h.example.com/a:t").target == "t"
    assert parse_reference(f"h.example.com/a@{SHA}").tag is None
