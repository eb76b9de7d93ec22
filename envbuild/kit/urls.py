"""URLs as people write and read them: variables expanded, credentials taken out.

Credentials never reach a message: a URL is shown through `strip_credentials`, and `${VAR}`
references are expanded just before a request.
"""

from __future__ import annotations

import base64
import os
import re
from typing import Final
from urllib.parse import unquote, urlsplit

from envbuild.errors import EnvbuildError
from envbuild.kit.login import FindLogin, read_netrc, read_rattler

__all__ = [
    "basic_authorization",
    "expand_references",
    "split_credentials",
    "strip_credentials",
]

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_USER_INFO: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s]*@")
_CONDA_TOKEN: Final = re.compile(r"/t/[^/\s]+(?=/|$)")
_SECRET_FIELD: Final = re.compile(
    r"([?&][^=&#\s]*(?:sig|signature|token|secret|password|passwd|credential|key)[^=&#\s]*=)[^&#\s]*",
    re.IGNORECASE,
)


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


def split_credentials(url: str, own: FindLogin | None = None) -> tuple[str, dict[str, str]]:
    """Return `url`, ready to be requested, and the headers that carry its credentials.

    References are expanded here. Credentials are the URL's own `user:password@`, else those that
    `own` finds, else those that the netrc file has for its host, else those of rattler's file, else
    none.
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
    login = (own(plain).login if own else None) or read_netrc(host).login or read_rattler(host)
    if isinstance(login, str):
        return plain, {"Authorization": f"Bearer {login}"}
    return plain, basic_authorization(*login) if login else {}


def basic_authorization(user: str, password: str) -> dict[str, str]:
    """Return the `Authorization` header of RFC 7617."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}
