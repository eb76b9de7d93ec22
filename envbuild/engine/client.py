"""Find Docker Engine the way the docker command does, and turn its refusals into our errors.

Order of the addresses, as in Docker's own command line: `DOCKER_HOST` (with `DOCKER_TLS_VERIFY`
and `DOCKER_CERT_PATH`), `DOCKER_CONTEXT`, the current context of docker's `config.json`, and the
default socket. The Python SDK is imported only inside: a session without containers never pays.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from envbuild.engine.contexts import DockerContext, find_context_name, load_context
from envbuild.errors import EngineError

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["Engine", "connect_engine", "explained"]

DEFAULT_ADDRESS: Final = "unix:///var/run/docker.sock"
OLDEST_API: Final = (1, 40)
"""Docker Engine 19.03: the first with device requests (GPUs), which the runs need."""

_HELLO_SECONDS: Final = 20
_CALL_SECONDS: Final = 600
_START_HINT: Final = (
    "start Docker Engine (or set `DOCKER_HOST` to the one to use), "
    "or train without containers: `nox -s train -- NAME --target local`"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """A Docker Engine that answered: its client, where it is, and what it is.

    `pinned` holds the environment variables that make a child process reach the same engine;
    `is_local` is True when ports that it publishes on loopback are this machine's.
    """

    client: DockerClient
    address: str
    version: str
    api: str
    pinned: Mapping[str, str]

    @property
    def is_local(self) -> bool:
        url = self.address if "://" in self.address else f"tcp://{self.address}"
        parts = urlsplit(url)
        if parts.scheme in {"unix", "npipe", "http+unix"}:
            return True
        return parts.hostname in {"localhost", "127.0.0.1", "::1"}

    def close(self) -> None:
        """Close the connections; the engine itself stays as it is."""
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Address:
    url: str
    tls: Any
    pinned: Mapping[str, str]
    origin: str


def connect_engine() -> Engine:
    """Return the engine that docker's own command line would talk to.

    Raises `EngineError`: `engine.unreachable`, `engine.permission`, `engine.too-old`,
    `engine.context` (a docker context is named that doesn't exist or can't be read).
    """
    from docker.errors import DockerException, InvalidVersion

    address = _find_address()
    try:
        _try_socket(address.url)
        client = _open_client(address)
    except InvalidVersion as error:
        raise _too_old(address, "below 1.24") from error
    except (DockerException, OSError, ValueError) as error:
        raise _unreachable(address, error) from error
    try:
        with explained("say its version", address=address.url):
            facts = client.version()
        return _check_version(client, address, facts)
    except BaseException:
        client.close()
        raise


def _find_address() -> _Address:
    """Say where the engine is, without talking to it."""
    if host := os.environ.get("DOCKER_HOST"):
        return _Address(url=host, tls=_environment_tls(host), pinned={}, origin="DOCKER_HOST")
    name = find_context_name()
    if name and name != "default":
        return _context_address(name)
    pinned = {"DOCKER_CONTEXT": "default"}
    return _Address(url=DEFAULT_ADDRESS, tls=None, pinned=pinned, origin="the default socket")


def _environment_tls(host: str) -> Any:
    from docker.errors import DockerException
    from docker.utils import kwargs_from_env

    try:
        return kwargs_from_env().get("tls")
    except (DockerException, OSError) as error:
        raise EngineError(
            "engine.unreachable",
            f"the TLS certificates for Docker Engine at `{host}` can't be used: {_plain(error)}",
            hint="check `DOCKER_CERT_PATH` and `DOCKER_TLS_VERIFY`",
        ) from error


def _context_address(name: str) -> _Address:
    context = load_context(name)
    return _Address(
        url=context.host.removeprefix("http+"),
        tls=_context_tls(context, name),
        pinned={"DOCKER_CONTEXT": name},
        origin=f"docker context `{name}`",
    )


def _context_tls(context: DockerContext, name: str) -> Any:
    from docker.errors import DockerException
    from docker.tls import TLSConfig

    if not (context.ca or context.certificate):
        return None
    pair = (str(context.certificate), str(context.key)) if context.certificate else None
    try:
        return TLSConfig(
            client_cert=pair,
            ca_cert=str(context.ca) if context.ca and context.verify else None,
            verify=context.verify,
        )
    except (DockerException, OSError) as error:
        raise EngineError(
            "engine.context",
            f"the TLS certificates of docker context `{name}` can't be used: {_plain(error)}",
            hint="make the context anew with `docker context create`",
        ) from error


def _try_socket(url: str) -> None:
    """Open and close a Unix socket: its own error says more than the SDK's, and leaks nothing."""
    if url.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(_HELLO_SECONDS)
            link.connect(url.removeprefix("unix://"))


def _open_client(address: _Address) -> DockerClient:
    from docker import DockerClient

    ssh = address.url.startswith("ssh://")
    client = DockerClient(
        base_url=address.url,
        tls=address.tls or False,
        timeout=_HELLO_SECONDS,
        use_ssh_client=ssh,
    )
    client.api.timeout = _CALL_SECONDS
    return client


def _check_version(client: DockerClient, address: _Address, facts: Mapping[str, Any]) -> Engine:
    api = str(facts.get("ApiVersion", "0"))
    if tuple(int(part) for part in api.split(".") if part.isdigit()) < OLDEST_API:
        raise _too_old(address, api)
    return Engine(
        client=client,
        address=address.url,
        version=str(facts.get("Version", "unknown")),
        api=api,
        pinned=address.pinned,
    )


def _too_old(address: _Address, api: str) -> EngineError:
    wanted = ".".join(str(part) for part in OLDEST_API)
    return EngineError(
        "engine.too-old",
        f"Docker Engine at `{address.url}` speaks API {api}, envbuild needs {wanted} or newer",
        hint="update Docker Engine to 19.03 or newer",
    )


def _unreachable(address: _Address, error: BaseException) -> EngineError:
    tried = f"`{address.url}` (from {address.origin})"
    if _has_cause(error, PermissionError):
        return EngineError(
            "engine.permission",
            f"this user may not open Docker Engine's socket {tried}",
            hint="add the user to the group that owns the socket (often `docker`) and log in again",
        )
    return EngineError(
        "engine.unreachable",
        f"no Docker Engine answers at {tried}: {_plain(error)}",
        hint=_START_HINT,
    )


def _has_cause(error: BaseException, kind: type[BaseException]) -> bool:
    """Tell if an error of `kind` is among the causes, contexts and arguments of `error`."""
    todo: list[object] = [error]
    seen: set[int] = set()
    while todo:
        item = todo.pop()
        if isinstance(item, kind):
            return True
        if isinstance(item, BaseException) and id(item) not in seen:
            seen.add(id(item))
            todo += [item.__cause__, item.__context__, *item.args]
        elif isinstance(item, tuple):
            todo += item
    return False


def _plain(error: BaseException) -> str:
    """Return an error's text as part of a sentence: one line, no full stop."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.removeprefix("Error while fetching server API version: ").rstrip(".")


@contextlib.contextmanager
def explained(doing: str, *, address: str) -> Iterator[None]:
    """Turn what the SDK raises in the block into `EngineError` with the daemon's own words.

    Raises `engine.refused` for an answer that says no and `engine.lost` for a broken connection.
    """
    import requests.exceptions
    import urllib3.exceptions
    from docker.errors import APIError, DockerException

    try:
        yield
    except APIError as error:
        said = " ".join(str(error.explanation or error).split()).rstrip(".")
        raise EngineError("engine.refused", f"Docker Engine can't {doing}: {said}") from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        raise EngineError(
            "engine.lost",
            f"the connection to Docker Engine at `{address}` broke on the way to {doing}: "
            f"{_plain(error)}",
            hint="see whether the engine still runs with `docker info`, then start again",
        ) from error
    except DockerException as error:
        raise EngineError(
            "engine.refused", f"Docker Engine can't {doing}: {_plain(error)}"
        ) from error
