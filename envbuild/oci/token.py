"""Answers a registry's challenge: Basic, or a bearer token from the service that it names.

Sources: RFC 9110 section 11 (the header), and "Token Authentication Specification" and "OAuth2
Token Authentication" of the CNCF distribution project (the token service).
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urljoin, urlsplit

from envbuild.errors import RegistryError
from envbuild.kit.proxy import is_loopback
from envbuild.kit.retry import Patience
from envbuild.kit.urls import basic_authorization, strip_credentials
from envbuild.oci.auth import Credential
from envbuild.oci.connection import Connections, Silence

__all__ = ["Authenticator", "Challenge", "format_scope", "parse_challenges"]

_MARGIN: Final = 10.0
"""Seconds before its end when a token is no longer used."""

_LIFETIME: Final = 60.0
"""Seconds that a token lives if its service doesn't say: the specification's own number."""

_HOPS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST: Final = 1 << 20
"""Longest answer of a token service that is read, in bytes."""

_PART: Final = re.compile(
    r"""\s*,?\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)      # a scheme or a parameter's name
        (?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?   # and the parameter's value""",
    re.VERBOSE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Challenge:
    """One way that a server wants to be convinced; `scheme` in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Read a `WWW-Authenticate` header, several challenges in it too; what is odd is skipped."""
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    while match := _PART.match(header, position):
        position = match.end()
        name, quoted, plain = match.groups()
        if quoted is None and plain is None:
            found.append((name.lower(), {}))
        elif found:
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found[-1][1][name.lower()] = value
    return tuple(Challenge(scheme=scheme, parameters=values) for scheme, values in found)


def format_scope(repository: str, actions: str) -> str:
    """Return the scope of `actions` (`pull` or `pull,push`) on a repository."""
    return f"repository:{repository}:{actions}"


class Authenticator:
    """Keeps what one registry was convinced with; safe in many threads.

    The login is looked up at the first challenge, so an open registry never asks for one.
    """

    def __init__(
        self,
        registry: str,
        *,
        pool: Connections,
        patience: Patience,
        find: Callable[[str], Credential | None],
    ) -> None:
        self._registry = registry
        self._pool = pool
        self._patience = patience
        self._find = find
        self._guard = threading.Lock()
        self._basic: dict[str, str] = {}
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}
        self._credential: Credential | None = None
        self._looked = False

    @property
    def has_login(self) -> bool:
        """True if a login was found; False also before the first challenge."""
        return self._credential is not None

    @property
    def may_ask_more(self) -> bool:
        """True if a token for more than was asked for could be had."""
        return self._credential is not None and bool(self._tokens)

    def headers(self, scopes: Sequence[str]) -> dict[str, str]:
        """Return what is known to convince the registry; empty before its first challenge."""
        if self._basic:
            return dict(self._basic)
        now = time.monotonic()
        exact = self._tokens.get(tuple(scopes))
        if exact is not None and now < exact[1]:
            return {"Authorization": f"Bearer {exact[0]}"}
        # A copy, for another thread may add one.
        for granted, (token, end) in list(self._tokens.items()):
            if now < end and _covers(granted, scopes):
                return {"Authorization": f"Bearer {token}"}
        return {}

    def answer(
        self, header: str, scopes: Sequence[str], sent: Mapping[str, str], *, secure: bool
    ) -> tuple[dict[str, str], bool] | None:
        """Return headers that answer a challenge, and whether they are new.

        None if nothing better than `sent` is at hand. Headers that are not new were found out by
        another thread meanwhile. `secure` is whether the registry itself is spoken to over TLS.
        Raises `RegistryError`.
        """
        challenges = {c.scheme: c for c in parse_challenges(header)}
        with self._guard:
            known = self.headers(scopes)
            if known and known != dict(sent):
                return known, False
            credential = self._look_up()
            if "bearer" in challenges:
                found = self._answer_bearer(challenges["bearer"], credential, scopes, secure)
                return (found, True) if found != dict(sent) else None
            if "basic" in challenges and credential is not None and not sent:
                self._basic = basic_authorization(credential.user, credential.password)
                return dict(self._basic), True
            return None

    def _look_up(self) -> Credential | None:
        if not self._looked:
            self._credential = self._find(self._registry)
            self._looked = True
        return self._credential

    def _answer_bearer(
        self,
        challenge: Challenge,
        credential: Credential | None,
        scopes: Sequence[str],
        secure: bool,
    ) -> dict[str, str]:
        if credential is not None and credential.registry_token:
            token, life = credential.registry_token, 3600.0
        else:
            token, life = self._fetch(challenge, credential, scopes, secure)
        self._tokens[tuple(scopes)] = (token, time.monotonic() + max(life - _MARGIN, life / 2))
        return {"Authorization": f"Bearer {token}"}

    def _fetch(
        self,
        challenge: Challenge,
        credential: Credential | None,
        scopes: Sequence[str],
        secure: bool,
    ) -> tuple[str, float]:
        realm = challenge.parameters.get("realm", "")
        place = urlsplit(realm)
        if place.scheme not in {"http", "https"} or not place.hostname:
            raise self._refused("it names no token service")
        clear = place.scheme == "http" and not is_loopback(place.hostname)
        if credential is not None and secure and clear:
            raise self._refused(f"it wants the login sent in the clear to `{place.hostname}`")
        asked = [*scopes, *_find_others(challenge.parameters.get("scope", ""), scopes)]
        service = challenge.parameters.get("service", "")
        if credential is not None and credential.identity_token:
            return self._request(*_plan_oauth(realm, service, asked, credential))
        fields = [("service", service)] if service else []
        fields += [("scope", scope) for scope in asked]
        headers = {}
        if credential is not None:
            fields += [("account", credential.user)]
            headers = basic_authorization(credential.user, credential.password)
        joint = "&" if place.query else "?"
        return self._request("GET", f"{realm}{joint}{urlencode(fields)}", headers, None)

    def _request(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None
    ) -> tuple[str, float]:
        host = urlsplit(url).hostname
        for attempt in range(1, self._patience.attempts + 1):
            try:
                status, answered, data = self._exchange(method, url, headers, body)
            except Silence as error:
                raise RegistryError(
                    "registry.unreachable",
                    f"the token service `{host}` of `{self._registry}` can't be reached: "
                    f"{error.reason}",
                    hint="check the network and the proxy settings, then try again",
                ) from error
            if status < 500 and status != 429:
                break
            if attempt < self._patience.attempts:
                time.sleep(self._patience.pause(attempt, answered.get("Retry-After")))
        if status in {400, 401, 403}:
            raise self._refused(f"its token service `{host}` answered {status}")
        if status != 200:
            raise RegistryError(
                "registry.unavailable",
                f"the token service `{host}` of `{self._registry}` answered {status}",
                hint="try again in a while",
            )
        return self._read_token(data)

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body of the answer at the end of all redirects."""
        for _ in range(_HOPS):
            response = self._pool.request(method, url, headers=headers, body=body)
            try:
                data = response.read(_MOST)
            finally:
                response.close()
            place = response.headers.get("Location", "")
            if method != "GET" or response.status not in _REDIRECTS or not place:
                break
            target = urljoin(url, place)
            if urlsplit(target)[:2] != urlsplit(url)[:2]:
                headers = {}  # the login is for the first one only
            url = target
        return response.status, response.headers, data

    def _read_token(self, data: bytes) -> tuple[str, float]:
        try:
            value: Any = json.loads(data)
            token = value.get("token") or value.get("access_token")
            life = float(value.get("expires_in") or _LIFETIME)
        except (ValueError, AttributeError, TypeError):
            token, life = None, 0.0
        if not isinstance(token, str):
            raise self._refused("its token service gave no token")
        return token, life

    def _refused(self, reason: str) -> RegistryError:
        return RegistryError(
            "registry.unauthorised",
            f"`{self._registry}` can't be logged in to: {strip_credentials(reason)}",
            hint=f"to log in, run `docker login {self._registry}`",
        )


def _covers(granted: Sequence[str], wanted: Sequence[str]) -> bool:
    """Return whether a token for some scopes will do for others."""
    have = {
        name: set(actions.split(",")) for name, _, actions in (s.rpartition(":") for s in granted)
    }
    parts = (scope.rpartition(":") for scope in wanted)
    return all(set(actions.split(",")) <= have.get(name, set()) for name, _, actions in parts)


def _find_others(asked: str, ours: Sequence[str]) -> list[str]:
    """Return the scopes that the challenge names and that ours don't cover."""
    covered = {scope.rpartition(":")[0] for scope in ours}
    return [scope for scope in asked.split() if scope.rpartition(":")[0] not in covered]


def _plan_oauth(
    realm: str, service: str, scopes: Sequence[str], credential: Credential
) -> tuple[str, str, dict[str, str], bytes]:
    fields = {
        "grant_type": "refresh_token",
        "service": service,
        "client_id": "envbuild",
        "scope": " ".join(scopes),
        "refresh_token": credential.identity_token,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return "POST", realm, headers, urlencode(fields).encode()
