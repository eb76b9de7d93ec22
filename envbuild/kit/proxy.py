"""Which proxy a URL goes through, as the environment's variables say.

`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in lower case too, which goes first. What
`NO_PROXY` may hold is what Docker's and most other clients take: hosts (with all below them),
addresses, networks (`10.0.0.0/8`), each with or without a port, and `*` for everything.
"""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

__all__ = ["find_proxy", "is_loopback"]

_PORTS = {"http": 80, "https": 443}


def find_proxy(url: str) -> str | None:
    """Return the proxy's URL for `url`; None where none is meant, as never for loopback."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if is_loopback(host):
        return None
    proxy = _read(f"{parts.scheme}_proxy") or _read("all_proxy")
    if not proxy or _is_excepted(host, parts.port or _PORTS.get(parts.scheme, 0)):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def is_loopback(host: str) -> bool:
    """Return whether `host` (a name or an address, no port) is this machine itself."""
    name = host.strip("[]").lower()
    return (
        name == "localhost"
        or name.endswith(".localhost")
        or name == "::1"
        or (re.fullmatch(r"127(\.\d{1,3}){3}", name) is not None)
    )


def _read(name: str) -> str:
    # An empty one in lower case says that there is none, whatever the other says.
    value = os.environ.get(name)
    return (os.environ.get(name.upper(), "") if value is None else value).strip()


def _is_excepted(host: str, port: int) -> bool:
    return any(_matches(entry, host, port) for entry in _read("no_proxy").replace(",", " ").split())


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    name, wanted = _split_port(entry.lower())
    if wanted and wanted != port:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        plain = name.removeprefix("*").strip(".")
        return bool(plain) and (host == plain or host.endswith(f".{plain}"))
    try:
        return address in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, int]:
    """Return an entry's host and port; 0 if it has none."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, int(rest[1:]) if rest[1:].isdecimal() else 0
    name, colon, port = entry.rpartition(":")
    # More than one colon is an IPv6 address.
    return (name, int(port)) if colon and port.isdecimal() and ":" not in name else (entry, 0)
