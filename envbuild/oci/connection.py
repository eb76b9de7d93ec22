"""HTTP to registries, on the standard library's client: connections kept, proxies, TLS, silence.

A build that has nothing to do asks a registry one short question per environment. urllib3 takes
longer to import than fifty of those take to answer, and as long again for each as the network on
the same machine; what is needed of it here is little.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from envbuild.kit.proxy import find_proxy
from envbuild.kit.retry import FailureKind, Patience
from envbuild.kit.urls import basic_authorization
from envbuild.version import __version__

if TYPE_CHECKING:
    import ssl

__all__ = ["Connections", "Headers", "Response", "Silence"]

_PIECE: Final = 128 << 10
_NO_ADDRESS: Final = "it led to what is no web address"
_PLAIN: Final = "%/?:@!$&'()*+,;=~[]|"
"""What is left as it is in a URL that a server gave, however odd."""
_AGENT: Final = f"envbuild/{__version__}"


class Silence(Exception):  # noqa: N818 - the caller makes an error of it
    """There is no answer, or only the beginning of one; no URL or header is in it."""

    def __init__(self, kind: FailureKind, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason


class Headers(Mapping[str, str]):
    """An answer's headers; names in any case, what came more than once joined by a comma."""

    def __init__(self, pairs: Mapping[str, str] | list[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in pairs.items() if isinstance(pairs, Mapping) else pairs:
            key = name.lower()
            before = self._values.get(key)
            self._values[key] = value if before is None else f"{before}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Response:
    """An answer whose body is still to be read. It is to be closed, read or not."""

    def __init__(
        self,
        raw: http.client.HTTPResponse,
        *,
        give_back: Callable[[], None],
        drop: Callable[[], None],
    ) -> None:
        self._raw = raw
        self._give_back = give_back
        self._drop = drop
        self.status = raw.status
        self.headers = Headers(raw.getheaders())

    def read(self, most: int) -> bytes:
        """Return the body, or its first `most` bytes, unpacked if it is packed."""
        data = b"".join(self._chunks(most, most))
        if "gzip" not in self.headers.get("Content-Encoding", ""):
            return data
        # Nobody asked for it, but some proxies pack whatever they pass on.
        try:
            return zlib.decompressobj(31).decompress(data, most)
        except zlib.error:
            raise Silence("cut", "it sent an answer that can't be unpacked") from None

    def stream(self, size: int) -> Iterator[bytes]:
        """Yield the body in chunks of up to `size` bytes, as it was sent."""
        return self._chunks(size, None)

    def close(self) -> None:
        """Keep the connection if the body was read to its end, else drop it."""
        if self._raw.isclosed() and not self._raw.will_close:
            self._give_back()
        else:
            self._drop()
        self._raw.close()

    def drain(self) -> None:
        """Read what is left, if it is little, and close."""
        try:
            self.read(64 << 10)
        except Silence:
            pass
        finally:
            self.close()

    def _chunks(self, size: int, most: int | None) -> Iterator[bytes]:
        left = most
        while left is None or left > 0:
            try:
                data = self._raw.read(size if left is None else min(size, left))
            except (OSError, http.client.HTTPException) as error:
                raise _explain(error, "reading") from error
            if not data:
                break
            if left is not None:
                left -= len(data)
            yield data
        # `read` with a number says nothing of a body that ended too early.
        if (left is None or left > 0) and self._raw.length:
            raise Silence("cut", "it cut the connection")


class _Place(NamedTuple):
    """The other end of a connection: who is asked, and through whom."""

    scheme: str
    host: str
    port: int
    proxy: str | None


class Connections:
    """Keeps up to `size` idle connections for each host; safe in many threads."""

    def __init__(
        self,
        *,
        authorities: Sequence[Path] = (),
        client: tuple[Path, Path] | None = None,
        patience: Patience,
        size: int = 16,
    ) -> None:
        self._authorities = authorities
        self._client = client
        self._patience = patience
        self._size = size
        self._guard = threading.Lock()
        self._tls: ssl.SSLContext | None = None
        self._idle: dict[_Place, list[http.client.HTTPConnection]] = {}
        weakref.finalize(self, _close_all, self._idle)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | Iterator[bytes] | None = None,
    ) -> Response:
        """Send a request and return its answer, whatever it is; follows no redirect.

        An iterator's length is in `headers`. Raises `Silence`, and `EnvbuildError` `tls.bundle` or
        `tls.client` where a certificate of this machine can't be read.
        """
        parts = urlsplit(url)
        place = _find_place(url)
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        if " " in target or not target.isascii():
            target = quote(target, safe=_PLAIN)
        host = parts.netloc.rpartition("@")[2]
        # Said here, or the standard library would add `:443`, which breaks signed URLs.
        sent = {"Host": host, "User-Agent": _AGENT, **headers}
        if place.proxy is not None and place.scheme == "http":
            target = f"http://{host}{target}"
            sent |= _authorize(place.proxy)
        connection = self._take(place)
        try:
            return self._exchange(connection, place, method, target, sent, body)
        except BaseException:
            connection.close()
            raise

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        place: _Place,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | Iterator[bytes] | None,
    ) -> Response:
        if connection.sock is None:
            self._connect(connection, place)
        try:
            # A server that has refused already needn't read on; it may have said why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, target, body=body, headers=headers)
            raw = connection.getresponse()
        except UnicodeError as error:
            raise Silence("other", _NO_ADDRESS) from error
        except (OSError, http.client.HTTPException) as error:
            raise _explain(error, "reading") from error
        return Response(
            raw, give_back=lambda: self._give_back(place, connection), drop=connection.close
        )

    def _take(self, place: _Place) -> http.client.HTTPConnection:
        while True:
            with self._guard:
                idle = self._idle.get(place)
                connection = idle.pop() if idle else None
            if connection is None:
                return self._make(place)
            if _is_alive(connection):
                return connection
            connection.close()

    def _give_back(self, place: _Place, connection: http.client.HTTPConnection) -> None:
        with self._guard:
            idle = self._idle.setdefault(place, [])
            if connection.sock is not None and len(idle) < self._size:
                idle.append(connection)
                return
        connection.close()

    def _make(self, place: _Place) -> http.client.HTTPConnection:
        context = self._load_tls() if place.scheme == "https" else None
        if place.proxy is None:
            return _Connection(place.host, place.port, None, context)
        proxy = urlsplit(place.proxy)
        port = proxy.port or (443 if proxy.scheme == "https" else 80)
        outer = self._load_tls() if proxy.scheme == "https" else None
        connection = _Connection(proxy.hostname or "", port, outer, context)
        if place.scheme == "https":
            connection.set_tunnel(place.host, place.port, _authorize(place.proxy))
        return connection

    def _connect(self, connection: http.client.HTTPConnection, place: _Place) -> None:
        connection.timeout = self._patience.connect
        try:
            connection.connect()
        except (OSError, http.client.HTTPException, ValueError) as error:
            if place.proxy is not None and not _is_tls(error):
                reason = "the proxy can't be reached or doesn't connect to it"
                raise Silence("proxy", reason) from error
            raise _explain(error, "connecting") from error
        connection.sock.settimeout(self._patience.read)

    def _load_tls(self) -> ssl.SSLContext:
        from envbuild.kit.tls import load_tls

        with self._guard:
            if self._tls is None:
                self._tls = load_tls(self._authorities, client=self._client)
            return self._tls


class _Connection(http.client.HTTPConnection):
    """A connection, maybe through a proxy, with TLS to the proxy, to the far end, or to both."""

    def __init__(
        self, host: str, port: int, outer: ssl.SSLContext | None, inner: ssl.SSLContext | None
    ) -> None:
        super().__init__(host, port, blocksize=_PIECE)
        self._outer = outer
        self._inner = inner

    def connect(self) -> None:
        """Connect, shake hands, and have the proxy connect on."""
        tunnel: str | None = getattr(self, "_tunnel_host", None)
        self.sock = socket.create_connection((self.host, self.port), self.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._outer is not None:
                self.sock = self._outer.wrap_socket(self.sock, server_hostname=self.host)
            if tunnel is not None:
                self._tunnel()  # type: ignore[attr-defined]  # not in the stubs
            if self._inner is not None:
                self.sock = _wrap(self._inner, self.sock, tunnel or self.host)
        except BaseException:
            self.close()
            raise


def _find_place(url: str) -> _Place:
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        port = 0
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port:
        raise Silence("other", _NO_ADDRESS)
    return _Place(parts.scheme, parts.hostname, port, find_proxy(url))


def _wrap(context: ssl.SSLContext, sock: Any, host: str) -> Any:
    import ssl

    if not isinstance(sock, ssl.SSLSocket):
        return context.wrap_socket(sock, server_hostname=host)
    # TLS within TLS, which the standard library's sockets can't do.
    from urllib3.util.ssltransport import SSLTransport

    return SSLTransport(sock, context, server_hostname=host)


def _authorize(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    login = basic_authorization(unquote(parts.username), unquote(parts.password or ""))
    return {"Proxy-Authorization": login["Authorization"]}


def _is_alive(connection: http.client.HTTPConnection) -> bool:
    """Return whether an idle connection can be used: nothing to read, not even its end."""
    if connection.sock is None:
        return False
    poll = select.poll()
    poll.register(connection.sock.fileno(), select.POLLIN)
    return not poll.poll(0)


def _close_all(idle: dict[_Place, list[http.client.HTTPConnection]]) -> None:
    for connections in idle.values():
        for connection in connections:
            connection.close()


def _is_tls(error: BaseException) -> bool:
    import ssl

    return isinstance(error, ssl.SSLError)


def _explain(error: BaseException, doing: str) -> Silence:
    """Return what went wrong in a few words; no URL or header of `error` is repeated."""
    match error:
        case socket.gaierror():
            return Silence("name", "its name can't be resolved")
        case ConnectionRefusedError():
            return Silence("refused", "it refused the connection")
        case TimeoutError() if doing == "connecting":
            return Silence("timeout", "connecting to it took too long")
        case TimeoutError():
            return Silence("timeout", "it stopped answering")
        case http.client.HTTPException() | ConnectionError():
            return Silence("cut", "it cut the connection")
    import ssl

    match error:
        case ssl.SSLError():
            from envbuild.kit.tls import describe_tls

            return Silence("tls", describe_tls(error))
        case UnicodeError():
            # What is no host name at all fails before it is looked up.
            return Silence("name", "its name can't be resolved")
        case OSError() if doing == "connecting":
            reason = (error.strerror or "no route").lower()
            return Silence("refused", f"it can't be reached: {reason}")
        case OSError():
            return Silence("cut", "it cut the connection")
        case _:
            return Silence("other", type(error).__name__)
