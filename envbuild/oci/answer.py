"""What goes to a registry and what comes back, and the error for each answer that is no use.

Error bodies: OCI distribution specification 1.1, "Error Codes".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from envbuild.errors import RegistryError
from envbuild.kit.retry import RETRIED_STATUSES
from envbuild.kit.urls import strip_credentials
from envbuild.oci.connection import Silence

__all__ = [
    "NO_ANSWER",
    "Answer",
    "Request",
    "Transient",
    "explain_answer",
    "explain_silence",
    "find_next",
]

_LINK: Final = re.compile(r"<([^>]*)>([^,<]*)")
_NEXT: Final = re.compile(r";\s*rel\s*=\s*\"?next\"?\s*(?:;|$)", re.IGNORECASE)

NO_ANSWER: Final = RETRIED_STATUSES | {401, 403}
"""Statuses that say neither yes nor no; so do all from 500 on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request. `url` is below `/v2/` or absolute; `what` completes "to ..." in messages."""

    method: str
    url: str
    what: str
    scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Callable[[], Iterator[bytes]] | None = None
    """A body that is made anew for each attempt has its length in `headers`."""
    most: int = 4 << 20
    """Longest answer that is kept in memory, in bytes: the limit of registries for a manifest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A whole answer; `headers` takes names in any case, `url` is the one that answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def codes(self) -> frozenset[str]:
        """The error codes of the distribution specification in the body."""
        return frozenset(str(e.get("code", "")) for e in self._errors())

    @property
    def message(self) -> str:
        """What the registry says about an error, ready to end a sentence; or nothing."""
        texts = [str(e.get("message") or e.get("code") or "") for e in self._errors()]
        text = " ".join(strip_credentials("; ".join(t for t in texts if t)).split())
        return f": {text[:200].rstrip('.')}" if text else ""

    def _errors(self) -> list[dict[str, Any]]:
        try:
            errors = json.loads(self.body)["errors"]
        except (ValueError, KeyError, TypeError):
            return []
        return [e for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []


def find_next(answer: Answer, resolve: Callable[[str, str], str]) -> str:
    """Return the URL of the next page of a list (`Link: <...>; rel="next"`, RFC 8288), or ""."""
    for target, parameters in _LINK.findall(answer.headers.get("Link", "")):
        if _NEXT.search(parameters):
            return resolve(answer.url, target)
    return ""


class Transient(Exception):  # noqa: N818 - a failure that may pass, not an error of its own
    """Something that may be different a moment later; `error` is raised if it is not."""

    def __init__(
        self, error: RegistryError, *, retry_after: str | None = None, attempts: int | None = None
    ) -> None:
        super().__init__(error)
        self.error = error
        self.retry_after = retry_after
        self.attempts = attempts


def explain_answer(
    host: str, answer: Answer, request: Request, *, has_login: bool
) -> RegistryError | Transient:
    """Return the error for an answer that nobody has a use for."""
    if answer.status in RETRIED_STATUSES or answer.status >= 500:
        return _unavailable(host, answer, request)
    if answer.status in {401, 403}:
        login = "the login that is stored for it" if has_login else "anyone"
        return RegistryError(
            "registry.unauthorised",
            f"`{host}` does not let {login} {request.what}{answer.message}",
            hint=f"to log in, run `docker login {host}`; "
            "a repository that does not exist may be answered like this too",
        )
    return RegistryError(
        "registry.not-found" if answer.status == 404 else "registry.bad-answer",
        f"`{host}` answered {answer.status} when asked to {request.what}{answer.message}",
        hint="check the name; if it is right, look into the registry's log",
    )


def _unavailable(host: str, answer: Answer, request: Request) -> Transient:
    reason = "was asked too often" if answer.status == 429 else f"answered {answer.status}"
    error = RegistryError(
        "registry.unavailable",
        f"`{host}` {reason} when asked to {request.what}{answer.message}",
        hint="try again in a while; if it stays so, look into the registry's log",
    )
    lasting = answer.status not in RETRIED_STATUSES
    return Transient(
        error, retry_after=answer.headers.get("Retry-After"), attempts=1 if lasting else None
    )


def explain_silence(
    host: str, silence: Silence, request: Request, *, url: str = ""
) -> Transient | RegistryError:
    """Return the error for a request that got no answer, or only the beginning of one.

    `url` is what was asked, where a redirect or an upload led away from `host`.
    """
    kind, reason = silence.kind, silence.reason
    place = urlsplit(url).netloc
    via = f" through `{place}`" if place and place != host else ""
    code, hint = _FAILURES.get(kind, _FAILURES["other"])
    if "wrong version number" in reason or "record layer failure" in reason:
        reason, hint = "it does not speak TLS", _PLAIN_HINT
    if "alert bad certificate" in reason or "alert certificate required" in reason:
        reason, hint = "it wants a client certificate that it knows", _CLIENT_HINT
    failed = RegistryError(
        code,
        f"`{host}` could not be asked{via} to {request.what}: {reason}",
        hint=hint.format(host=host),
    )
    match kind:
        case "cut" | "other":
            return Transient(failed)
        case "timeout":
            return Transient(failed, attempts=2)
        case _:
            return failed


_SETTINGS: Final = '`[tool.envbuild.registries."{host}"]` in `pyproject.toml`'
_PLAIN_HINT: Final = f"if it speaks plain http, say so: `plain-http = true` under {_SETTINGS}"
_TLS_HINT: Final = (
    f"name its authority's file with `ca` under {_SETTINGS}, "
    "or put it where Docker looks: `/etc/docker/certs.d/{host}/ca.crt`"
)
_CLIENT_HINT: Final = (
    "put yours where Docker looks: `client.cert` and `client.key` in `/etc/docker/certs.d/{host}`"
)
_WAIT_HINT: Final = "try again; if it stays so, look into the registry's log"

_FAILURES: Final = {
    "name": ("registry.unreachable", "check the host's name in the image's name, and the network"),
    "refused": ("registry.unreachable", "check that a registry runs there: `curl {host}/v2/`"),
    "proxy": ("registry.unreachable", "check `HTTPS_PROXY`, and name the host in `NO_PROXY`"),
    "timeout": ("registry.timeout", _WAIT_HINT),
    "tls": ("registry.tls", _TLS_HINT),
    "other": ("registry.unreachable", _WAIT_HINT),
}
