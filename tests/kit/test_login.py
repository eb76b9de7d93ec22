"""Words about a login say where it is from and never what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envbuild.kit.login import describe_login, read_netrc
from envbuild.kit.urls import split_credentials

URL = "https://pkgs.example.com/simple"


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "logins"
    monkeypatch.setenv("NETRC", str(path))
    return path


def test_references_are_named_in_their_order(netrc: Path) -> None:
    login = describe_login("https://${WHO}:${TOKEN}@pkgs.example.com/simple")
    assert login.words == "with the login in `WHO` and `TOKEN`"
    assert "`export WHO=...; export TOKEN=...`" in login.advice
    assert "`TOKEN`" in describe_login("https://h.example.com/t/${TOKEN}/team").words


def test_netrc_is_named_with_the_host(netrc: Path) -> None:
    netrc.write_text("machine pkgs.example.com login robot password hush\n")
    login = describe_login(URL)
    assert login.words == f"with the login that `{netrc}` has for `pkgs.example.com`"
    assert "hush" not in f"{login}{read_netrc('pkgs.example.com')!r}"
    assert "without a login" in describe_login("https://other.example.com:8443/simple").words


def test_no_login_says_where_one_may_stand(netrc: Path) -> None:
    advice = describe_login(URL).advice
    assert "`https://${TOKEN}@pkgs.example.com/...`" in advice
    assert f"`machine pkgs.example.com login USER password TOKEN` to `{netrc}`" in advice


def test_a_login_that_stands_in_a_machines_settings(netrc: Path) -> None:
    login = describe_login("https://robot:hush@pkgs.example.com/simple")
    assert "pip config list" in login.advice
    assert "hush" not in str(login)


@pytest.mark.parametrize(
    "content",
    [
        b"machine pkgs.example.com login robot hush\n",
        b"hush hush\n",
        b"machine pkgs.example.com login robot password \xff\xfehush\n",
    ],
)
def test_a_damaged_netrc_is_named_and_not_repeated(netrc: Path, content: bytes) -> None:
    netrc.write_bytes(content)
    login = describe_login(URL)
    assert f"`{netrc}` can't be read" in login.words
    assert "hush" not in str(login)
    assert split_credentials(URL) == (URL, {})


def test_a_netrc_that_is_a_folder_is_named(netrc: Path) -> None:
    netrc.mkdir()
    assert "is a directory" in describe_login(URL).words


@pytest.mark.parametrize(
    ("key", "login", "header"),
    [
        ("pkgs.example.com", {"BearerToken": "hush"}, "Bearer hush"),
        ("*.example.com", {"BasicHTTP": {"username": "a", "password": "b"}}, "Basic YTpi"),
        ("other.example.com", {"BearerToken": "hush"}, None),
        ("pkgs.example.com", {"CondaToken": "hush"}, None),
        ("pkgs.example.com", "hush", None),
    ],
)
def test_rattlers_file_counts_too(
    netrc: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    login: object,
    header: str | None,
) -> None:
    (tmp_path / "rattler.json").write_text(json.dumps({key: login}))
    monkeypatch.setenv("RATTLER_AUTH_FILE", str(tmp_path / "rattler.json"))
    assert split_credentials(URL) == (URL, {"Authorization": header} if header else {})
