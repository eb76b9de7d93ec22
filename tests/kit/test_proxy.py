"""Promises of `kit.proxy`: the environment's words mean what they mean to Docker and to curl."""

from __future__ import annotations

import pytest

from envbuild.kit.proxy import find_proxy, is_loopback

PROXY = "http://proxy.example.com:3128"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_without_variables_nothing_goes_through_a_proxy() -> None:
    assert find_proxy("https://h.example.com/v2/") is None


def test_each_scheme_has_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    assert find_proxy("https://h.example.com/") == PROXY
    assert find_proxy("http://h.example.com/") is None
    monkeypatch.setenv("ALL_PROXY", "other.example.com:1")
    assert find_proxy("http://h.example.com/") == "http://other.example.com:1"
    assert find_proxy("https://h.example.com/") == PROXY


def test_lower_case_goes_first_and_empty_means_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://other.example.com")
    monkeypatch.setenv("https_proxy", PROXY)
    assert find_proxy("https://h.example.com/") == PROXY
    monkeypatch.setenv("https_proxy", "")
    assert find_proxy("https://h.example.com/") is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "[::1]", "a.localhost"])
def test_loopback_never_goes_through_a_proxy(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    assert find_proxy(f"http://{host}:5000/v2/") is None


@pytest.mark.parametrize(
    ("no_proxy", "url", "excepted"),
    [
        ("*", "https://h.example.com/", True),
        ("h.example.com", "https://h.example.com/", True),
        ("H.Example.COM", "https://h.example.com/", True),
        ("example.com", "https://h.example.com/", True),
        (".example.com", "https://h.example.com/", True),
        ("*.example.com", "https://h.example.com/", True),
        ("example.com", "https://badexample.com/", False),
        ("other.example.com, h.example.com", "https://h.example.com/", True),
        ("a b,h.example.com", "https://h.example.com/", True),
        ("h.example.com.", "https://h.example.com/", True),
        ("", "https://h.example.com/", False),
        (",", "https://h.example.com/", False),
        (".", "https://h.example.com/", False),
        # Ports.
        ("h.example.com:5000", "https://h.example.com:5000/", True),
        ("h.example.com:5000", "https://h.example.com/", False),
        ("h.example.com:443", "https://h.example.com/", True),
        ("h.example.com:80", "http://h.example.com/", True),
        ("example.com:443", "https://h.example.com/", True),
        ("h.example.com", "https://h.example.com:5000/", True),
        # Addresses and networks.
        ("10.1.2.3", "https://10.1.2.3/", True),
        ("10.1.2.3:5000", "https://10.1.2.3:5000/", True),
        ("10.1.2.3:5000", "https://10.1.2.3/", False),
        ("10.0.0.0/8", "https://10.1.2.3:5000/", True),
        ("10.1.2.3/8", "https://10.9.9.9/", True),
        ("10.0.0.0/8", "https://11.1.2.3/", False),
        ("10.0.0.0/8", "https://h.example.com/", False),
        ("fd00::/8", "https://[fd12::1]:5000/", True),
        ("fd12::1", "https://[fd12::1]/", True),
        ("[fd12::1]:5000", "https://[fd12::1]:5000/", True),
        ("[fd12::1]:5000", "https://[fd12::1]/", False),
        ("10.0.0.0/8", "https://[fd12::1]/", False),
        ("1.2.3", "https://1.2.3.4/", False),
        ("0.0.0.0/99", "https://1.2.3.4/", False),
    ],
)
def test_what_is_excepted(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, excepted: bool
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert find_proxy(url) == (None if excepted else PROXY)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]", "a.localhost"]
)
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost.example.com", "128.0.0.1", "127.example.com"])
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)
