"""One registry's connection: scheme, certificates, login, redirects, and trying again.

Every answer that is neither a success nor one that the caller names becomes a `RegistryError`
here, so that nothing above can take "could not tell" for a yes or a no.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urljoin, urlsplit, urlunsplit

from envbuild.errors import RegistryError
from envbuild.kit.proxy import is_loopback
from envbuild.kit.retry import Patience
from envbuild.oci.answer import (
    NO_ANSWER,
    Answer,
    Request,
    Transient,
    explain_answer,
    explain_silence,
)
from envbuild.oci.auth import find_credential
from envbuild.oci.certificates import find_certificates
from envbuild.oci.connection import Connections, Response, Silence
from envbuild.oci.reference import DOCKER_HUB
from envbuild.oci.token import Authenticator

__all__ = ["RegistryOptions", "Wire"]

T = TypeVar("T")

_HUB_API: Final = "registry-1.docker.io"
"""Where Docker's own registry answers; its name in references is another one."""

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-")
_HOPS: Final = 8
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_VERSION_HEADER: Final = "Docker-Distribution-Api-Version"


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistryOptions:
    """How to reach a registry; None: found out as Docker does."""

    ca: Path | None = None
    """A file of PEM certificates to trust besides the system's."""
    plain_http: bool | None = None
    patience: Patience = field(default_factory=Patience)


class Habits:
    """What was learnt of how a registry takes uploads."""

    def __init__(self) -> None:
        self.too_long = 1 << 62
        """The shortest request, in bytes, that was too long for it."""
        self.refused: set[int] = set()
        """Sizes of chunks that it took for no chunks."""


class Wire:
    """The way to one registry; safe in many threads, keeps its connections."""

    def __init__(self, host: str, options: RegistryOptions) -> None:
        self.host = host
        self._netloc = _HUB_API if host == DOCKER_HUB else host
        self._options = options
        found = find_certificates(host)
        authorities = (options.ca,) if options.ca else found.authorities
        self._pool = Connections(
            authorities=authorities, client=found.client, patience=options.patience
        )
        has_tls = bool(authorities or found.client)
        self._scheme = _choose_scheme(self._netloc, options, has_tls=has_tls)
        self._is_registry = False
        self.habits = Habits()
        self._guard = threading.Lock()
        self._auth = Authenticator(
            host, pool=self._pool, patience=options.patience, find=find_credential
        )

    def ask(self, request: Request, *, attempts: int | None = None) -> Answer:
        """Return the answer, whatever its status below 500; tries again where that may help.

        Raises `RegistryError` `registry.unavailable`, `registry.unreachable`,
        `registry.timeout`, `registry.tls`, `registry.unauthorised`.
        """
        return self.persist(lambda: self.attempt(request), attempts=attempts)

    def persist(
        self,
        action: Callable[[], T],
        *,
        attempts: int | None = None,
        done: Callable[[], int] = int,
    ) -> T:
        """Return what `action` returns; repeat it with growing pauses while it is `Transient`.

        `attempts` is for what is worth fewer of them than usual. `done` says how far it got: what
        gets further each time may fail as often as it likes.
        """
        furthest = done()
        attempt = 0
        while True:
            attempt += 1
            try:
                return action()
            except Transient as failure:
                if attempt == attempts:
                    raise failure.error from failure
                attempt = 1 if done() > furthest else attempt
                furthest = max(furthest, done())
                self.wait(failure, attempt)

    def wait(self, failure: Transient, attempt: int) -> None:
        """Wait after attempt number `attempt` (from 1) failed; raise if it was the last one."""
        patience = self._options.patience
        if attempt >= min(patience.attempts, failure.attempts or patience.attempts):
            raise failure.error from failure
        time.sleep(patience.pause(attempt, failure.retry_after))

    def try_ask(self, request: Request) -> Answer | None:
        """Return any answer, or None if there is none; asks once."""
        try:
            return self.peek(request)
        except (Transient, RegistryError):
            return None

    def attempt(self, request: Request) -> Answer:
        """Do as `ask` does, but once; raises `Transient` for what may pass."""
        answer = self.peek(request)
        if answer.status in NO_ANSWER or answer.status >= 500:
            raise self.explain(answer, request)
        return answer

    def peek(self, request: Request) -> Answer:
        """Return any answer there is, once; raises `Transient` if there is none."""
        response, url = self._exchange(request)
        try:
            body = self._read(response, request)
        except Transient:
            # A status of this kind is an answer without its words, too; docker-registry gives a
            # wrong length for those of 416.
            if not 400 <= response.status < 500:
                raise
            body = b""
        finally:
            response.close()
        return Answer(status=response.status, headers=response.headers, body=body, url=url)

    @contextlib.contextmanager
    def stream(self, request: Request, *, start: int = 0) -> Iterator[Iterator[bytes]]:
        """Give a body in chunks, from its byte `start` on.

        Raises `Transient` too, so it goes in `persist`.
        """
        if start:
            request = replace(request, headers={**request.headers, "Range": f"bytes={start}-"})
        response, url = self._exchange(request)
        try:
            first = _find_first(response)
            if first is None or first > start:
                body = self._read(response, request)
                headers = response.headers
                answer = Answer(status=response.status, headers=headers, body=body, url=url)
                raise self.explain(answer, request)
            yield _skip(self._chunks(response, request), start - first)
        finally:
            # A body that was read to its end has given its connection back already.
            response.close()

    def explain(self, answer: Answer, request: Request) -> RegistryError | Transient:
        """Return the error for an answer that the caller has no use for."""
        return explain_answer(self.host, answer, request, has_login=self._auth.has_login)

    def check_registry(self) -> None:
        """Make sure that this is a registry at all, so that its "not found" means something.

        A web server that isn't one says 404 to everything. Raises `registry.not-a-registry`.
        """
        if self._is_registry:
            return
        request = Request(method="GET", url="", what="say that it is a registry")
        answer = self.persist(lambda: self._ask_version(request))
        html = "html" in answer.headers.get("Content-Type", "")
        says_so = _VERSION_HEADER in answer.headers or answer.status == 401
        if not says_so and (answer.status != 200 or html):
            raise RegistryError(
                "registry.not-a-registry",
                f"`{self.host}` answers, but not as a container registry does",
                hint="check the host and the port in the image's name",
            )
        self._is_registry = True

    def resolve(self, base: str, location: str) -> str:
        """Return the absolute URL of a `Location` header.

        A registry behind a proxy that ends TLS may give its own host with `http`; that is mended.
        """
        target = urlsplit(urljoin(base, location))
        own = urlsplit(self._absolute(""))
        if own.scheme == "https" and target.scheme == "http" and target.hostname == own.hostname:
            target = target._replace(scheme="https", netloc=own.netloc)
        return urlunsplit(target)

    def _exchange(self, request: Request) -> tuple[Response, str]:
        """Send a request through logins and redirects; return the last answer and its URL."""
        response, url, refused = self._follow(request)
        if refused and self._auth.may_ask_more and any(s.endswith(":pull") for s in request.scopes):
            # A token service may not admit that a repository exists, or could, to who only reads.
            scopes = tuple(f"{scope.removesuffix(',push')},push" for scope in request.scopes)
            response.drain()
            response, url, _ = self._follow(replace(request, scopes=scopes))
        return response, url

    def _follow(self, request: Request) -> tuple[Response, str, bool]:
        """Return the first answer that is neither a redirect nor a challenge that can be met."""
        url = self._absolute(request.url)
        method, body = request.method, request.body
        auth = self._auth.headers(request.scopes)
        met = False
        for _ in range(_HOPS):
            # Only the registry itself is shown the login; storage elsewhere has its own URL.
            is_own = self._is_own(url)
            sent = auth if is_own else {}
            response = self._send(method, url, {**request.headers, **sent}, body, request)
            location = response.headers.get("Location", "")
            if response.status in _REDIRECTS and location:
                url = self.resolve(url, location)
                method, body = ("GET", None) if response.status == 303 else (method, body)
            elif response.status == 401 and is_own and not met:
                answer = self._meet(response, request, sent, secure=url.startswith("https:"))
                if answer is None:
                    return response, url, True
                auth, met = answer
            else:
                return response, url, response.status in {401, 403} and is_own
            response.drain()
        raise RegistryError(
            "registry.bad-answer",
            f"`{self.host}` sends a request round in circles when asked to {request.what}",
            hint="look into the registry's log for the reason",
        )

    def _meet(
        self,
        response: Response,
        request: Request,
        sent: Mapping[str, str],
        *,
        secure: bool,
    ) -> tuple[dict[str, str], bool] | None:
        """Return headers that meet a challenge, and whether they are new; None: there are none."""
        header = response.headers.get("WWW-Authenticate", "")
        try:
            return self._auth.answer(header, request.scopes, sent, secure=secure)
        except BaseException:
            response.close()
            raise

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Callable[[], Iterator[bytes]] | None,
        request: Request,
    ) -> Response:
        try:
            return self._pool.request(
                method,
                url,
                headers=headers,
                body=body() if callable(body) else body,
            )
        except Silence as error:
            raise explain_silence(self.host, error, request, url=self._show(url)) from error

    def _read(self, response: Response, request: Request) -> bytes:
        try:
            data = response.read(request.most + 1)
        except Silence as error:
            raise explain_silence(self.host, error, request) from error
        if len(data) > request.most:
            raise RegistryError(
                "registry.bad-answer",
                f"`{self.host}` sent more than {request.most >> 20} MiB "
                f"when asked to {request.what}",
                hint="no answer is that long; check what the name refers to",
            )
        return data

    def _chunks(self, response: Response, request: Request) -> Iterator[bytes]:
        try:
            yield from response.stream(1 << 20)
        except Silence as error:
            raise explain_silence(self.host, error, request) from error

    def _show(self, url: str) -> str:
        return "" if urlsplit(url).netloc == self._netloc else url

    def _absolute(self, url: str) -> str:
        return url if "://" in url else f"{self._find_scheme()}://{self._netloc}/v2/{url}"

    def _is_own(self, url: str) -> bool:
        parts = urlsplit(url)
        return parts.scheme == self._find_scheme() and parts.netloc == self._netloc

    def _find_scheme(self) -> str:
        """Return `http` or `https`; asks a registry on loopback which of them it speaks."""
        with self._guard:
            if self._scheme is None:
                self._scheme = self.persist(self._try_plain)
            return self._scheme

    def _try_plain(self) -> str:
        request = Request(
            method="GET", url=f"http://{self._netloc}/v2/", what="say that it is a registry"
        )
        try:
            response = self._send("GET", request.url, {}, None, request)
        except Transient as failure:
            if failure.error.code == "registry.timeout":
                raise  # what speaks TLS refuses plain words at once
            # Some servers drop a connection that doesn't begin with TLS.
            return "https" if self._speaks_tls(request) else "http"
        try:
            body = self._read(response, request)
        finally:
            response.close()
        # The words differ between servers; all of them say "https" or "ssl" about a plain request.
        said = body[:1000].lower()
        return (
            "https" if response.status == 400 and (b"https" in said or b"ssl" in said) else "http"
        )

    def _speaks_tls(self, request: Request) -> bool:
        try:
            self._send("GET", f"https://{self._netloc}/v2/", {}, None, request).close()
        except RegistryError as error:
            # A certificate that isn't trusted is an answer in TLS, too.
            return error.code == "registry.tls" and "certificate" in error.message
        except Transient:
            return False
        return True

    def _ask_version(self, request: Request) -> Answer:
        url = self._absolute("")
        response = self._send("GET", url, {}, None, request)
        try:
            body = self._read(response, request)
        finally:
            response.close()
        answer = Answer(status=response.status, headers=response.headers, body=body, url=url)
        if answer.status >= 500 or answer.status == 429:
            raise self.explain(answer, request)
        return answer


def _find_first(response: Response) -> int | None:
    """Return at which byte an answer's body begins; None if it isn't what was asked for."""
    if response.status == 200:
        return 0
    found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    return int(found[1]) if found and response.status == 206 else None


def _skip(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Leave out the first `size` bytes, for a server that doesn't know ranges."""
    for chunk in chunks:
        if size < len(chunk):
            yield chunk[size:]
        size = max(0, size - len(chunk))


def _choose_scheme(netloc: str, options: RegistryOptions, *, has_tls: bool) -> str | None:
    """Return the scheme, or None where only the registry itself can tell."""
    if options.plain_http is not None:
        return "http" if options.plain_http else "https"
    host = urlsplit(f"//{netloc}").hostname or ""
    return None if is_loopback(host) and not has_tls else "https"
