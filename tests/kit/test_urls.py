"""Promises of `kit.urls`: no credential is shown, and each gets to where it is meant for."""

from __future__ import annotations

import base64
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.errors import EnvbuildError
from envbuild.kit.urls import expand_references, split_credentials, strip_credentials

SECRET = st.text(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:%", min_size=8)


@pytest.fixture(autouse=True)
def no_netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@given(user=SECRET, password=SECRET, path=st.sampled_from(["", "/", "/a@b/c", "/x?y=z#f"]))
def test_a_shown_url_has_no_login(user: str, password: str, path: str) -> None:
    shown = strip_credentials(f"https://{user}:{password}@pkgs.example.com{path}")
    assert shown == f"https://pkgs.example.com{path}"


@given(token=st.text(string.ascii_letters + string.digits + "-", min_size=8))
def test_a_shown_url_has_no_token(token: str) -> None:
    shown = strip_credentials(
        f"see https://h.example.com/t/{token}/main/x.conda?sig={token}&v=1 and http://{token}@h/"
    )
    assert shown == "see https://h.example.com/main/x.conda?sig=***&v=1 and http://h/"


def test_what_is_no_credential_stays() -> None:
    for text in ("/t", "https://h/x@1.0/y", "https://h/texts/a", "mail a@b.example", ""):
        assert strip_credentials(text) == text


def test_a_reference_is_replaced_by_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_TOKEN", "s3cret")
    assert expand_references("https://${ACME_TOKEN}@h/${ACME_TOKEN}") == "https://s3cret@h/s3cret"


@pytest.mark.parametrize(("value", "says"), [(None, "is not set"), ("", "is empty")])
def test_a_reference_to_nothing_is_an_error_without_a_value(
    monkeypatch: pytest.MonkeyPatch, value: str | None, says: str
) -> None:
    monkeypatch.delenv("ACME_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("ACME_TOKEN", value)
    with pytest.raises(EnvbuildError, match=f"`ACME_TOKEN`, which {says}") as caught:
        expand_references("https://u:${ACME_TOKEN}@h/")
    assert caught.value.code == "credential.unset"


@given(value=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1))
def test_any_variable_survives_the_way_into_the_header(value: str) -> None:
    value = value.replace("%", "x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACME_TOKEN", value)
        url, headers = split_credentials("https://me:${ACME_TOKEN}@h.example.com/a@b/c?d")
    assert url == "https://h.example.com/a@b/c?d"
    kind, _, token = headers["Authorization"].partition(" ")
    assert (kind, base64.b64decode(token)) == ("Basic", f"me:{value}".encode())


def test_netrc_is_for_urls_without_a_login_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine h.example.com login a password b\n")
    assert split_credentials("https://h.example.com/x")[1] == {"Authorization": "Basic YTpi"}
    assert split_credentials("https://c:d@h.example.com/x")[1] == {"Authorization": "Basic Yzpk"}
    assert split_credentials("https://other.example.com/x")[1] == {}
