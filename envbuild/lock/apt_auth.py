"""apt's logins for private archives: `auth.conf` and `auth.conf.d/*.conf`, after apt_auth.conf(5).

Entries are `machine [PROTOCOL://]HOST[:PORT][/PATH] login NAME password TEXT`. Without a protocol
an entry is for https alone, so that no login is sent in the clear by mistake. What the manual
leaves open is as apt does it, which compares texts: capitals count, and no entry is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from envbuild.kit.login import Netrc
from envbuild.lock.apt_sources import AptConfig

__all__ = ["find_login"]


def find_login(url: str, config: AptConfig) -> Netrc:
    """Return the login that apt sends when it asks for `url`, and the file that has it.

    The first entry that fits counts; a file that can't be read has none.
    """
    folder = config.netrc_parts
    parts = sorted(folder.glob("*.conf")) if folder.is_dir() else []
    for file in (config.netrc, *parts):
        login = _read_entry(_read_words(file), url)
        if any(login):
            return Netrc(place=str(file), login=login)
    return Netrc(place=str(config.netrc))


def _read_words(file: Path) -> Iterator[str]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    except OSError:
        return
    for line in text.splitlines():
        if not line.lstrip().startswith("#"):
            yield from line.split()


def _read_entry(words: Iterator[str], url: str) -> tuple[str, str]:
    """Return name and password of the first entry for `url`; both are empty if there is none."""
    fields: dict[str, str] = {}
    for word in words:
        if word == "machine" and _fits(next(words, ""), url):
            break
    for word in words:  # the rest: none, if no entry fits
        if word == "machine":
            break
        if word in {"login", "password"}:
            fields[word] = next(words, "")
    return fields.get("login", ""), fields.get("password", "")


def _fits(machine: str, url: str) -> bool:
    protocol, mark, place = machine.partition("://")
    if not mark:
        protocol, place = "https", machine
    scheme, _, rest = url.partition("://")
    if protocol != scheme:
        return False
    if "/" in place:  # the beginning of a path as it stands: `/deb` is for `/debian`, too
        return rest.startswith(place)
    server = rest.partition("/")[0]
    host, _, port = server.rpartition(":")
    return place == server or (port.isdecimal() and place == host)  # a host alone: any port
