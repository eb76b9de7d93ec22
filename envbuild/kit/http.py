"""What every HTTP client here shares: pools, time-outs, certificates, proxies, credentials.

Credentials never reach a message: a URL is shown through `strip_credentials`, `${VAR}` references
are expanded just before a request, and a failure is described without the text of its exception.
"""

from __future__ import annotations

import base64
import functools
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote, urlsplit

from envbuild.errors import EnvbuildError
from envbuild.kit.login import read_netrc, read_rattler

if TYPE_CHECKING:
    import urllib3

__all__ = [
    "RETRIED_STATUSES",
    "FailureKind",
    "Patience",
    "basic_authorization",
    "describe_failure",
    "expand_references",
    "explain_failure",
    "is_loopback",
    "open_pool",
    "shared_pool",
    "split_credentials",
    "strip_credentials",
]

FailureKind = Literal["name", "refused", "timeout", "tls", "proxy", "cut", "other"]
"""Why there was no answer."""

RETRIED_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be different a moment later."""

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_USER_INFO: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s]*@")
_CONDA_TOKEN: Final = re.compile(r"/t/[^/\s]+(?=/|$)")
_SECRET_FIELD: Final = re.compile(
    r"([?&][^=&#\s]*(?:sig|signature|token|secret|password|passwd|credential|key)[^=&#\s]*=)[^&#\s]*",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a request is waited for and how often it is tried again; all times in seconds."""

    attempts: int = 4
    delay: float = 0.5
    """Pause before the second attempt; it doubles with each further one."""
    longest: float = 30.0
    """No pause is longer, whatever a server's `Retry-After` asks for."""
    connect: float = 10.0
    read: float = 60.0
    """Longest silence of a server in the middle of a request."""

    def pause(self, attempt: int, retry_after: str | None = None) -> float:
        """Return the pause after attempt number `attempt` (from 1) failed.

        `retry_after` is the header of RFC 9110, section 10.2.3: seconds or a date.
        """
        asked = _parse_retry_after(retry_after)
        if asked is not None:
            return min(asked, self.longest)
        import random

        # The spread keeps many clients that failed together from coming back together.
        spread = random.uniform(0.75, 1.25)  # noqa: S311 - spreads retries, guards nothing
        return min(self.delay * 2.0 ** (attempt - 1) * spread, self.longest)


def _parse_retry_after(text: str | None) -> float | None:
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    import email.utils

    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None
    return max(0.0, moment - time.time())


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


def expand_references(text: str) -> str:
    """Return `text` with each `${VAR}` replaced from the environment.

    Raises `EnvbuildError` `credential.unset` if a variable isn't set, or empty: a CI system gives
    an empty one for a secret that it doesn't have.
    """
    return _REFERENCE.sub(_look_up, text)


def _look_up(match: re.Match[str]) -> str:
    name = match[1]
    value = os.environ.get(name)
    if not value:
        raise EnvbuildError(
            "credential.unset",
            f"a URL refers to the environment variable `{name}`, which is "
            f"{'not set' if value is None else 'empty'}",
            hint=f"to set it for this shell, run `export {name}=...`",
        )
    return value


def strip_credentials(url: str) -> str:
    """Return `url` (or a text with URLs in it) fit to be shown.

    Dropped are `user:password@` and conda's `/t/TOKEN`; the value of a query's field that sounds
    like a secret (`sig=`, `token=`, ...) becomes `***`.
    """
    text = _USER_INFO.sub(r"\1", url)
    return _SECRET_FIELD.sub(r"\1***", _CONDA_TOKEN.sub("", text))


def split_credentials(url: str) -> tuple[str, dict[str, str]]:
    """Return `url`, ready to be requested, and the headers that carry its credentials.

    References are expanded here. Credentials are the URL's own `user:password@`, else those that
    the netrc file has for its host, else those of rattler's file, else none.
    """
    head, mark, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0] if mark else ""
    user_info, at, _ = authority.rpartition("@")
    if at:
        plain = expand_references(head + mark + rest[len(user_info) + 1 :])
        # Split before expanding: a value may hold any character, a colon too.
        user, _, password = user_info.partition(":")
        return plain, basic_authorization(
            unquote(expand_references(user)), unquote(expand_references(password))
        )
    plain = expand_references(url)
    host = urlsplit(plain).hostname or ""
    login = read_netrc(host).login or read_rattler(host)
    if isinstance(login, str):
        return plain, {"Authorization": f"Bearer {login}"}
    return plain, basic_authorization(*login) if login else {}


def basic_authorization(user: str, password: str) -> dict[str, str]:
    """Return the `Authorization` header of RFC 7617."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def is_loopback(host: str) -> bool:
    """Return whether `host` (a name or an address, no port) is this machine itself."""
    name = host.strip("[]").lower()
    return (
        name == "localhost"
        or name.endswith(".localhost")
        or name == "::1"
        or (re.fullmatch(r"127(\.\d{1,3}){3}", name) is not None)
    )


def describe_failure(error: BaseException) -> str:
    """Return what went wrong with a connection in a few words, without URL or credentials."""
    return explain_failure(error)[1]


def explain_failure(error: BaseException) -> tuple[FailureKind, str]:
    """Return the kind of a failed connection, and what went wrong in a few words."""
    from envbuild.kit.pool import describe

    return describe(error)
