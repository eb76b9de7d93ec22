"""Logins for servers by netrc, and words for the login that a request goes with: never its value.

netrc is found where pip, uv and rattler look too: the file that `NETRC` names, else `~/.netrc`.
What rattler has in the file that `RATTLER_AUTH_FILE` names (JSON, host to login) counts as well.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

__all__ = ["FindLogin", "Login", "Netrc", "describe_login", "read_netrc", "read_rattler"]

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Netrc:
    """What netrc, or a file like it, has for a request: user and password, None if it has none.

    `problem` says why the file can't be read; empty if it can, or isn't there.
    """

    place: str
    login: tuple[str, str] | None = field(default=None, repr=False)
    problem: str = ""


FindLogin = Callable[[str], Netrc]
"""Looks up a URL where another tool keeps its logins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """A login in words: `words` ends a sentence about a request, `advice` says how to mend it."""

    words: str
    advice: str


def read_netrc(host: str) -> Netrc:
    """Return what netrc has for `host`, which has no port; no file and a bad one are no error."""
    import netrc

    named = os.environ.get("NETRC")
    path = Path(named).expanduser() if named else Path.home() / ".netrc"
    place = named or "~/.netrc"
    try:
        found = netrc.netrc(path).authenticators(host) if host else None
    except FileNotFoundError:
        return Netrc(place=place)
    except OSError as error:
        return Netrc(place=place, problem=(error.strerror or "it can't be read").lower())
    except netrc.NetrcParseError as error:
        # Its own words may repeat a password.
        return Netrc(place=place, problem=f"line {error.lineno} is no entry of a netrc file")
    except ValueError:
        return Netrc(place=place, problem="it is not text")
    if found is None:
        return Netrc(place=place)
    return Netrc(place=place, login=(found[0] or found[1] or "", found[2] or ""))


def read_rattler(host: str) -> str | tuple[str, str] | None:
    """Return rattler's login for `host`: a bearer token, or user and password.

    conda's tokens, which are part of a path, are not looked for.
    """
    import json

    named = os.environ.get("RATTLER_AUTH_FILE")
    if not named:
        return None
    try:
        logins = json.loads(Path(named).read_bytes())
        wild = (f"*.{host.split('.', n)[n]}" for n in range(1, host.count(".") + 1))
        found = next(logins[name] for name in (host, *wild) if name in logins)
        if token := found.get("BearerToken"):
            return str(token)
        return str(found["BasicHTTP"]["username"]), str(found["BasicHTTP"]["password"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration):
        return None  # rattler itself says what is wrong with its file


def describe_login(url: str, own: FindLogin | None = None) -> Login:
    """Return what a request for `url`, written with references, is logged in with.

    What `own` finds comes before netrc.
    """
    host = urlsplit(_REFERENCE.sub("x", url)).hostname or ""
    if names := _REFERENCE.findall(url):
        variables = " and ".join(f"`{name}`" for name in dict.fromkeys(names))
        exports = "; ".join(f"export {name}=..." for name in dict.fromkeys(names))
        return Login(
            words=f"with the login in {variables}",
            advice=f"set what the server takes, for it may have expired: `{exports}`",
        )
    if "@" in urlsplit(url).netloc:
        return Login(
            words="with the login in its URL, which this machine's own settings have",
            advice="correct the URL in those settings: `pip config list` shows pip's",
        )
    netrc = own(url) if own else read_netrc(host)
    if not netrc.login:
        netrc = read_netrc(host)
    if netrc.problem:
        return Login(
            words=f"without a login, since `{netrc.place}` can't be read: {netrc.problem}",
            advice=f"mend `{netrc.place}`",
        )
    if netrc.login:
        return Login(
            words=f"with the login that `{netrc.place}` has for `{host}`",
            advice=f"correct the entry for `{host}` in `{netrc.place}`",
        )
    return Login(
        words=f"without a login: its URL has none, and neither has `{netrc.place}` for `{host}`",
        advice=f"write one into the URL as a reference, `https://${{TOKEN}}@{host}/...`, and run "
        f"`export TOKEN=...`; or add `machine {host} login USER password TOKEN` to "
        f"`{netrc.place}`",
    )
