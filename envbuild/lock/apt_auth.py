"""apt's logins for private archives: `auth.conf` and `auth.conf.d/*.conf`, after apt_auth.conf(5).

Entries are `machine [PROTOCOL://]HOST[:PORT][/PATH] login NAME password TEXT`. Without a protocol
an entry is for https alone, so that no login is sent in the clear by mistake.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import quote, urlsplit

from envbuild.lock.apt_sources import AptConfig

__all__ = ["add_login"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    machine: str
    login: str = ""
    password: str = field(default="", repr=False)

    def fits(self, root: str) -> bool:
        """Say whether the entry is for the archive at `root`, an URL without a login."""
        wanted = self.machine if "://" in self.machine else f"https://{self.machine}"
        want, have = urlsplit(wanted), urlsplit(root)
        # apt compares the beginnings of paths as they stand: `/deb` is for `/debian`, too.
        same = (want.scheme, want.netloc.lower()) == (have.scheme, have.netloc.lower())
        return same and f"{have.path}/".startswith(want.path)


def add_login(root: str, config: AptConfig) -> str:
    """Return an archive's URL with the login that apt has for it; one that has its own stays."""
    if "@" in urlsplit(root).netloc or not root.startswith(("http://", "https://")):
        return root
    for entry in _read_entries(config):
        if entry.fits(root):
            scheme, _, rest = root.partition("://")
            login = ":".join(quote(text, safe="") for text in (entry.login, entry.password))
            return f"{scheme}://{login}@{rest}"
    return root


def _read_entries(config: AptConfig) -> Iterator[_Entry]:
    """Give the entries in the order in which they count; a file that can't be read has none."""
    folder = config.netrc_parts
    parts = sorted(folder.glob("*.conf")) if folder.is_dir() else []
    for file in (config.netrc, *parts):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        yield from _parse(text)


def _parse(text: str) -> Iterator[_Entry]:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    words = [word for line in lines for word in line.split()]
    found: list[_Entry] = []
    for key, value in itertools.pairwise(words):
        if key == "machine":
            found.append(_Entry(machine=value))
        elif found and key == "login" and not found[-1].login:
            found[-1] = replace(found[-1], login=value)
        elif found and key == "password" and not found[-1].password:
            found[-1] = replace(found[-1], password=value)
    yield from found
