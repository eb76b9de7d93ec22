"""Promises of `kit.http`: no credential is shown, proxies and certificates are found."""

from __future__ import annotations

import base64
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.errors import EnvbuildError
from envbuild.kit.http import describe_failure, explain_failure, open_pool
from envbuild.kit.proxy import is_loopback
from envbuild.kit.retry import Patience
from envbuild.kit.urls import expand_references, split_credentials, strip_credentials
from tests.rig.registry import make_tls
from tests.rig.scripted import ScriptedServer, answer, cut, hang

SECRET = st.text(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:%", min_size=8)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(files={"/file": b"hello"}).running() as running:
        yield running


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
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


def test_requests_say_who_asks(server: ScriptedServer) -> None:
    pool = open_pool()
    assert pool.request("GET", f"{server.url}/file", headers={"X-Own": "1"}).data == b"hello"
    assert server.seen[0].headers["User-Agent"].startswith("envbuild/")
    assert server.seen[0].headers["X-Own"] == "1"
    pool.clear()


def test_a_request_goes_through_the_proxy_unless_the_host_is_excepted(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script("GET", "^http://pkgs.example.com/x$", answer(200, b"by proxy"))
    monkeypatch.setenv("http_proxy", f"http://me:pw@{server.host}")
    pool = open_pool(patience=Patience(connect=1))
    assert pool.request("GET", "http://pkgs.example.com/x").data == b"by proxy"
    assert server.seen[0].headers["Proxy-Authorization"] == "Basic bWU6cHc="
    assert server.seen[0].headers["Host"] == "pkgs.example.com"
    # Loopback is never meant: a registry of this machine is not the proxy's business.
    assert pool.request("GET", f"{server.url}/file").data == b"hello"
    assert server.seen[1].path == "/file"
    monkeypatch.setenv("no_proxy", "example.invalid")
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever the resolver does
        pool.request("GET", "http://example.invalid/x")
    assert explain_failure(caught.value)[0] in {"name", "timeout"}
    assert len(server.seen) == 2
    pool.clear()


def test_a_redirect_out_of_the_proxy_is_routed_anew(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script("GET", "^http://", answer(302, Location=f"{server.url}/file"))
    monkeypatch.setenv("http_proxy", server.url)
    pool = open_pool()
    assert pool.request("GET", "http://pkgs.example.com/x").data == b"hello"
    assert [seen.path for seen in server.seen] == ["http://pkgs.example.com/x", "/file"]
    pool.clear()


def test_a_login_does_not_follow_a_redirect_to_another_host(server: ScriptedServer) -> None:
    with ScriptedServer(files={"/x": b"there"}).running() as other:
        server.script("GET", "/x", answer(302, Location=f"{other.url}/x"))
        pool = open_pool()
        headers = {"Authorization": "Basic YTpi"}
        assert pool.request("GET", f"{server.url}/x", headers=headers).data == b"there"
        assert "Authorization" in server.seen[0].headers
        assert "Authorization" not in other.seen[0].headers
        pool.clear()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", None])
def test_an_own_authority_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    context, ca = make_tls(tmp_path)
    if variable:
        monkeypatch.setenv(variable, str(ca))
    with ScriptedServer(files={"/x": b"ok"}, tls=context).running() as server:
        pool = open_pool(ca=None if variable else ca)
        assert pool.request("GET", f"{server.url}/x").data == b"ok"
        pool.clear()


def test_an_authority_that_nobody_named_is_not_trusted(tmp_path: Path) -> None:
    context, _ = make_tls(tmp_path)
    with ScriptedServer(tls=context).running() as server:
        pool = open_pool()
        with pytest.raises(Exception) as caught:  # noqa: PT011
            pool.request("GET", f"{server.url}/x")
        pool.clear()
    assert explain_failure(caught.value)[0] == "tls"
    assert "certificate is not trusted" in describe_failure(caught.value)


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_bundle_that_can_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content:
        bundle.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with pytest.raises(EnvbuildError, match=r"bundle\.pem.*REQUESTS_CA_BUNDLE") as caught:
        open_pool().request("GET", "https://127.0.0.1:1/")
    assert caught.value.code == "tls.bundle"


def test_failures_are_told_apart(server: ScriptedServer) -> None:
    server.script("GET", "/hang", hang)
    server.script("GET", "/cut", cut())
    pool = open_pool(patience=Patience(read=0.2, connect=1))
    kinds = {}
    for name, url in {
        "timeout": f"{server.url}/hang",
        "cut": f"{server.url}/cut",
        "refused": "http://127.0.0.1:1/",
        "name": "http://pkgs.invalid/",
    }.items():
        with pytest.raises(Exception) as caught:  # noqa: PT011
            pool.request("GET", url)
        kinds[name] = explain_failure(caught.value)[0]
    assert kinds == {name: name for name in kinds}
    pool.clear()


def test_pauses_grow_and_obey_the_server() -> None:
    patience = Patience(delay=1.0, longest=20.0)
    pauses = [patience.pause(attempt) for attempt in (1, 2, 3, 4, 9)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 20.0
    assert patience.pause(1, "7") == 7.0
    assert patience.pause(1, "3600") == 20.0
    assert patience.pause(1, "Fri, 31 Dec 1999 23:59:59 GMT") == 0.0
    assert patience.pause(1, "soon") <= 1.25


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]", "a.localhost"]
)
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost.example.com", "128.0.0.1", "127.example.com"])
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)
