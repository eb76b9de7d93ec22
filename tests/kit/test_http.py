"""Promises of `kit.http`: proxies and certificates are found, failures are told apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuild.errors import EnvbuildError
from envbuild.kit.http import describe_failure, explain_failure, open_pool
from envbuild.kit.retry import Patience
from tests.rig.registry import make_tls
from tests.rig.scripted import ScriptedServer, answer, cut, hang


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
