"""The urllib3 side of `kit.http`: a pool that chooses its proxy per request and loads TLS late.

Imported only when a request is about to be made.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    IncompleteRead,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from envbuild.kit.proxy import find_proxy
from envbuild.kit.retry import FailureKind, Patience
from envbuild.kit.tls import describe_tls, load_tls
from envbuild.version import __version__

__all__ = ["RoutingPool", "describe"]


class RoutingPool(urllib3.PoolManager):
    """A pool manager that goes through the environment's proxy where one is meant."""

    def __init__(self, *, ca: Path | None, patience: Patience, size: int) -> None:
        super().__init__(
            num_pools=16,
            headers={"User-Agent": f"envbuild/{__version__}"},
            maxsize=size,
            timeout=urllib3.Timeout(connect=patience.connect, read=patience.read),
            retries=urllib3.Retry(connect=0, read=0, status=0, other=0, redirect=10),
        )
        self._size = size
        self._ca = ca
        self._guard = threading.Lock()
        self._proxied: dict[str, _ProxiedPool] = {}

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> Any:  # type: ignore[override]  # as urllib3's
        kw["headers"] = _with_defaults(self.headers, kw.get("headers"))
        proxy = find_proxy(url)
        if proxy is None:
            return super().urlopen(method, url, redirect=redirect, **kw)
        pool = self._open_proxied(proxy)
        return urllib3.ProxyManager.urlopen(pool, method, url, redirect=redirect, **kw)

    def connection_from_host(
        self,
        host: str | None,
        port: int | None = None,
        scheme: str | None = "http",
        pool_kwargs: dict[str, Any] | None = None,
    ) -> urllib3.HTTPConnectionPool:
        if scheme == "https":
            self._load_tls()
        return super().connection_from_host(host, port, scheme, pool_kwargs)

    def clear(self) -> None:
        super().clear()
        for pool in self._proxied.values():
            pool.clear()

    def _load_tls(self) -> ssl.SSLContext:
        with self._guard:
            if "ssl_context" not in self.connection_pool_kw:
                self.connection_pool_kw["ssl_context"] = load_tls([self._ca] if self._ca else [])
            context: ssl.SSLContext = self.connection_pool_kw["ssl_context"]
            return context

    def _open_proxied(self, proxy: str) -> _ProxiedPool:
        context = self._load_tls()
        with self._guard:
            if proxy not in self._proxied:
                self._proxied[proxy] = _ProxiedPool(self, proxy, context)
            return self._proxied[proxy]


class _ProxiedPool(urllib3.ProxyManager):
    """The connections through one proxy; a redirect goes back and is routed anew."""

    def __init__(self, home: RoutingPool, proxy: str, context: ssl.SSLContext) -> None:
        parts = urlsplit(proxy)
        headers = None
        if parts.username is not None:
            secret = f"{parts.username}:{parts.password or ''}"
            headers = dict(urllib3.make_headers(proxy_basic_auth=secret))
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        kept = {**home.connection_pool_kw, "ssl_context": context}
        super().__init__(place, 16, dict(home.headers), headers, proxy_ssl_context=context, **kept)
        self._home = home

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> Any:  # type: ignore[override]  # as urllib3's
        return self._home.urlopen(method, url, redirect=redirect, **kw)


def _with_defaults(defaults: Mapping[str, str], given: Mapping[str, str] | None) -> Any:
    merged = urllib3.HTTPHeaderDict(defaults)
    merged.update(given or {})
    return merged


def describe(error: BaseException) -> tuple[FailureKind, str]:
    """Return the failure's kind and a few words; no URL or header of `error` is repeated."""
    cause = _find_cause(error)
    match cause:
        case NameResolutionError():
            return "name", "its name can't be resolved"
        case NewConnectionError():
            return "refused", _describe_refusal(cause)
        case ConnectTimeoutError():
            return "timeout", "connecting to it took too long"
        case ReadTimeoutError() | TimeoutError():
            return "timeout", "it stopped answering"
        case SSLError() | ssl.SSLError():
            return "tls", describe_tls(_find_tls(cause))
        case ProxyError():
            return "proxy", "the proxy can't be reached or doesn't connect to it"
        case IncompleteRead() | ProtocolError() | ConnectionError():
            return "cut", "it cut the connection"
        case HTTPError():
            return "other", f"the request failed ({type(cause).__name__})"
        case _:
            return "other", type(cause).__name__


def _find_cause(error: BaseException) -> BaseException:
    while isinstance(error, MaxRetryError) and isinstance(error.reason, Exception):
        error = error.reason
    return error


def _describe_refusal(error: BaseException) -> str:
    cause = error.__cause__
    if isinstance(cause, ConnectionRefusedError) or not isinstance(cause, OSError):
        return "it refused the connection"
    return f"it can't be reached: {(cause.strerror or 'no route').lower()}"


def _find_tls(error: object) -> ssl.SSLError | None:
    # urllib3 wraps the real error as the first argument of its own.
    while not isinstance(error, ssl.SSLError):
        if not isinstance(error, BaseException) or not error.args:
            return None
        error = error.args[0]
    return error
