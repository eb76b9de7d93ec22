"""What every client of `urllib3` here shares: pools of connections, and why one failed.

`urllib3` is imported with the first request. A failure is described without the text of its
exception, which may hold a credential.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from envbuild.kit.retry import FailureKind, Patience

if TYPE_CHECKING:
    import urllib3

__all__ = ["describe_failure", "explain_failure", "open_pool", "shared_pool"]


def open_pool(
    *, ca: Path | None = None, patience: Patience | None = None, size: int = 8
) -> urllib3.PoolManager:
    """Return a thread-safe pool of connections; `size` is how many it keeps per host.

    It trusts the system's certificate authorities or those of `SSL_CERT_FILE`, those of
    `REQUESTS_CA_BUNDLE`, and `ca`; it takes proxies from `HTTPS_PROXY`, `HTTP_PROXY` and
    `NO_PROXY` (never for loopback). It follows redirects, and leaves every other decision on
    trying again to the caller. A bundle that can't be read raises `tls.bundle` at the first
    https request.
    """
    from envbuild.kit.pool import RoutingPool

    return RoutingPool(ca=ca, patience=patience or Patience(), size=size)


def shared_pool() -> urllib3.PoolManager:
    """Return this process's common pool, made at first use."""
    bundles = (os.environ.get("SSL_CERT_FILE"), os.environ.get("REQUESTS_CA_BUNDLE"))
    return _shared_pool(os.getpid(), bundles)


@functools.lru_cache(maxsize=4)
def _shared_pool(_process: int, _bundles: tuple[str | None, ...]) -> urllib3.PoolManager:
    # A forked child must not write into its parent's connections, hence the process in the key.
    return open_pool()


def describe_failure(error: BaseException) -> str:
    """Return what went wrong with a connection in a few words, without URL or credentials."""
    return explain_failure(error)[1]


def explain_failure(error: BaseException) -> tuple[FailureKind, str]:
    """Return the kind of a failed connection, and what went wrong in a few words."""
    from envbuild.kit.pool import describe

    return describe(error)
