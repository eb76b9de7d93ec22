"""Where Python packages come from: the spec's indexes, else those that pip is configured for.

pip and uv must see the same world, whatever configuration files, variables and defaults each of
them knows. So pip's configuration is read once, what the spec says is put over it, and the result
goes to every child as variables: never as arguments, which any user of the machine can read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from envbuild.kit.urls import expand_references
from envbuild.lock.pip_config import list_settings
from envbuild.spec.model import EnvSpec

__all__ = ["Indexes", "find_indexes", "pip_environment", "uv_environment"]

_PIP_PASSED: Final = (
    "cache-dir",
    "cert",
    "client-cert",
    "keyring-provider",
    "no-index",
    "proxy",
    "retries",
    "timeout",
    "trusted-host",
)
"""Options of pip that say how to reach an index; all others can change what is resolved."""
_UV_PASSED: Final = (
    "UV_CACHE_DIR",
    "UV_CONCURRENT_BUILDS",
    "UV_CONCURRENT_DOWNLOADS",
    "UV_CONCURRENT_INSTALLS",
    "UV_HTTP_RETRIES",
    "UV_HTTP_TIMEOUT",
    "UV_KEYRING_PROVIDER",
)
_guard = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Indexes:
    """The sources of packages with their credentials in place, and how to reach them.

    `index_url` None means the tools' own default. `settings` are options of pip by their long
    names. `secrets` are what must not appear in any output. `written` has a URL as the spec
    writes it, with references. `repr` shows none of it.
    """

    index_url: str | None = field(repr=False)
    extra_urls: tuple[str, ...] = field(repr=False)
    find_links: tuple[str, ...] = field(repr=False)
    settings: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    written: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def urls(self) -> tuple[str, ...]:
        """All indexes that have a URL, the main one first."""
        return (*((self.index_url,) if self.index_url else ()), *self.extra_urls)

    @property
    def trusted(self) -> tuple[str, ...]:
        """Hosts, some with a port, whose certificates are not to be verified."""
        return tuple(self.settings.get("trusted-host", "").split())

    @property
    def no_index(self) -> bool:
        return self.settings.get("no-index", "").lower() in {"1", "true", "yes", "on"}


def find_indexes(spec: EnvSpec, *, logs: Path) -> Indexes:
    """Return the indexes of `spec` on this machine.

    `pip.index-url` takes the place of all that pip is configured for on this machine, other
    indexes and link folders included; `pip.extra-index-urls` come in addition. How to reach an
    index (certificates, proxy, time-outs) is always the machine's.

    Raises `EnvbuildError` `credential.unset`, and `ToolError` if pip itself fails.
    """
    configured = _load_pip_settings(logs)
    index_url = spec.pip.index_url
    named = [*spec.pip.extra_index_urls, *([index_url] if index_url else [])]
    written = {_expand(url): url for url in named}
    extra = [_expand(url) for url in spec.pip.extra_index_urls]
    links: list[str] = []
    if index_url is None:
        main = configured.get("index-url")
        extra = [*configured.get("extra-index-url", "").split(), *extra]
        links = configured.get("find-links", "").split()
    else:
        main = _expand(index_url)
    settings = {key: configured[key] for key in _PIP_PASSED if configured.get(key)}
    urls = [*([main] if main else []), *extra, *links]
    secrets = {s for url in [*urls, settings.get("proxy", "")] for s in _find_secrets(url)}
    return Indexes(
        index_url=main,
        extra_urls=tuple(dict.fromkeys(extra)),
        find_links=tuple(dict.fromkeys(links)),
        settings=settings,
        secrets=tuple(sorted(secrets)),
        written=written,
    )


def _expand(url: str) -> str:
    """Return `url` with its references filled in; credentials are quoted as RFC 3986 wants."""
    head, mark, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    user_info, at, host = authority.rpartition("@")
    # Split before expanding: a value may hold any character, a colon or a slash too.
    words = [quote(unquote(expand_references(w)), safe="") for w in user_info.split(":", 1)]
    return head + mark + ":".join(words) + at + expand_references(host + slash + path)


def _find_secrets(url: str) -> set[str]:
    """Return the credentials of `url` as they may be written: quoted and not."""
    parts = urlsplit(url)
    secret = parts.password or parts.username or ""
    return {secret, unquote(secret)} - {""}


def _load_pip_settings(logs: Path) -> Mapping[str, str]:
    """Return pip's merged configuration for downloads: long option names and values."""
    places = tuple(sorted((k, v) for k, v in os.environ.items() if _places_pip(k)))
    with _guard:  # several environments are locked at once, and one answer does for all
        return _ask_pip(places, logs)


def _places_pip(variable: str) -> bool:
    return variable.startswith("PIP_") or variable in {"HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"}


@lru_cache(maxsize=8)
def _ask_pip(_places: tuple[tuple[str, str], ...], logs: Path) -> Mapping[str, str]:
    settings = list_settings(logs)
    found: dict[str, str] = {}
    for section in ("global", "download", "install", ":env:"):
        for key, value in settings.items():
            name = key.removeprefix(f"{section}.")
            if name != key:
                found[name] = value
    if "default-timeout" in found:
        found.setdefault("timeout", found["default-timeout"])
    return found


def pip_environment(indexes: Indexes) -> dict[str, str]:
    """Return the environment of a pip or pip-compile that sees `indexes` and nothing else."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    for key, value in indexes.settings.items():
        environment[f"PIP_{key.upper().replace('-', '_')}"] = " ".join(value.split())
    if "cert" in indexes.settings:
        # Below pip, requests prefers these two to what pip was told.
        environment["REQUESTS_CA_BUNDLE"] = environment["PIP_CERT"]
    if indexes.index_url:
        environment["PIP_INDEX_URL"] = _spell_for_pip(indexes.index_url)
    if indexes.extra_urls:
        environment["PIP_EXTRA_INDEX_URL"] = " ".join(map(_spell_for_pip, indexes.extra_urls))
    if indexes.find_links:
        environment["PIP_FIND_LINKS"] = " ".join(indexes.find_links)
    return environment | {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "NO_COLOR": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def _spell_for_pip(url: str) -> str:
    """Return `url` so that pip sends its login in UTF-8, as everybody else does.

    Below pip, requests encodes a login in Latin-1, and fails where that lacks a character. Here
    each byte of the UTF-8 is one character of Latin-1.
    """
    user_info, at, host = url.partition("://")[2].partition("/")[0].rpartition("@")
    words = [unquote(word) for word in user_info.split(":")]
    if all(word.isascii() for word in words):
        return url
    spelt = ":".join(quote(word.encode().decode("latin-1"), safe="") for word in words)
    return url.replace(f"{user_info}{at}{host}", f"{spelt}{at}{host}", 1)


def uv_environment(indexes: Indexes) -> dict[str, str]:
    """Return the environment of a uv that sees `indexes` as pip does, and nothing else."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("UV_") or k in _UV_PASSED}
    if bundle := os.environ.get("REQUESTS_CA_BUNDLE"):
        kept.setdefault("SSL_CERT_FILE", bundle)  # uv knows this one alone
    environment = kept | {
        # As pip does: the best version of all indexes, not the best of the first that has any.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_NATIVE_TLS": "1",
        "UV_SYSTEM_CERTS": "1",
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "NO_COLOR": "1",
    }
    if indexes.index_url:
        environment["UV_DEFAULT_INDEX"] = indexes.index_url
    if indexes.extra_urls:
        environment["UV_INDEX"] = " ".join(indexes.extra_urls)
    if indexes.find_links:
        environment["UV_FIND_LINKS"] = ",".join(map(_quote_comma, indexes.find_links))
    return environment | _translate(indexes.settings)


def _quote_comma(link: str) -> str:
    """Return a link folder or page as a text without commas, for uv splits there."""
    if "," not in link:
        return link
    return quote(link, safe=":/%") if "://" in link else Path(link).absolute().as_uri()


def _translate(settings: Mapping[str, str]) -> dict[str, str]:
    """Return what uv calls pip's ways to reach an index."""
    names = {
        "cert": ("SSL_CERT_FILE",),
        "client-cert": ("SSL_CLIENT_CERT",),
        "proxy": ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"),
        "retries": ("UV_HTTP_RETRIES",),
        "timeout": ("UV_HTTP_TIMEOUT",),
        "trusted-host": ("UV_INSECURE_HOST",),
    }
    translated = {
        name: " ".join(settings[key].split())
        for key, targets in names.items()
        if key in settings
        for name in targets
    }
    if settings.get("keyring-provider") == "subprocess":
        translated["UV_KEYRING_PROVIDER"] = "subprocess"
    return translated
