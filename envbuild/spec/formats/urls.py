"""URLs of indexes, channels and archives: a credential in one is a reference, never written out."""

from __future__ import annotations

import re
from typing import Final

from envbuild.spec.formats.base import Format

__all__ = ["ARCHIVE_URL", "CHANNEL", "INDEX_URL", "find_literal_secret"]

_REFERENCE: Final = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"
_CHARACTER: Final = rf"(?:[^\s@?#/$\u0000-\u001f]|{_REFERENCE})"
# A user's name alone may be a token, so it is a reference too, unless a password follows.
_USER: Final = rf"(?:(?:[A-Za-z0-9._~%-]+:)?{_REFERENCE}@|{_REFERENCE}:{_REFERENCE}@)?"
_HOST: Final = rf"(?:[A-Za-z0-9.:_\[\]-]|{_REFERENCE})+"
# Anaconda's servers take a token as `/t/TOKEN/`.
_WEB: Final = rf"https?://{_USER}{_HOST}(?:/(?!t/[^/$]){_CHARACTER}*)*"
_FILE: Final = rf"file://(?:/{_CHARACTER}*)+"


def find_literal_secret(url: str) -> bool:
    """Say whether `url` holds what may be a password or token, written out."""
    bare = re.sub(_REFERENCE, "", url)
    user = re.search(r"://(.*)@", bare)
    if user and not re.fullmatch(r"|[^:]*:", user[1]):
        return True
    if re.search(r"/t/[^/]", bare):
        return True
    query = r"[?&][^=&]*(?:token|key|pass|sig|secret)[^=&]*=[^&]"
    return bool(re.search(query, bare, re.IGNORECASE))


def _explain(text: str) -> str | None:
    if re.search(r"\$(?!\{)|\$\{(?![A-Za-z_][A-Za-z0-9_]*\})", text):
        return "a reference to a variable is written `${NAME}`"
    if find_literal_secret(text):
        return (
            "a password or token must not stand in a file; set it as a variable, "
            "such as `TOKEN`, and write `${TOKEN}` in its place"
        )
    if not re.match(r"(?:https?|file)://", text):
        return "it begins with `https://`, `http://` or `file://`"
    if "?" in text or "#" in text:
        return "leave out what follows `?` or `#`"
    return None


INDEX_URL = Format(
    name="index URL",
    expected="the URL of a package index, with a credential as a reference",
    examples=(
        "https://pkgs.example.com/simple",
        "https://${TOKEN}@pkgs.example.com/simple",
        "https://robot:${TOKEN}@pkgs.example.com/simple",
        "file:///srv/wheels/simple",
    ),
    pattern=rf"(?:{_WEB}|{_FILE})",
    explain=_explain,
)

ARCHIVE_URL = Format(
    name="archive URL",
    expected="the URL of an archive's or channel's root, with a credential as a reference",
    examples=("https://mirror.example.com/debian", "file:///srv/mirror/conda-forge"),
    pattern=rf"(?:{_WEB}|{_FILE})",
    explain=_explain,
)


def _explain_channel(text: str) -> str | None:
    if text == "nodefaults":
        return "leave it out; only the channels of this list are used"
    if text.startswith(("/", ".", "~")):
        return "write a folder's channel as a URL, `file:///srv/channel`"
    return _explain(text) if "://" in text else None


CHANNEL = Format(
    name="conda channel",
    expected="a channel's name or URL, with a credential as a reference",
    examples=(
        "conda-forge",
        "conda-forge/label/rc",
        "https://pkgs.example.com/conda/team",
        "https://pkgs.example.com/t/${TOKEN}/team",
    ),
    pattern=rf"(?:(?!nodefaults$)[A-Za-z0-9][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_.-]+)*|{_WEB}|{_FILE})",
    explain=_explain_channel,
)
