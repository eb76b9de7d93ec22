"""What the child processes that use py-rattler share: its client, its cache, and how to leave.

py-rattler stays out of every other process: one that ends soon after it awaited something dies in
finalisation (PyO3/pyo3-async-runtimes#40), in about one of six cases.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import urlsplit

from envbuild.errors import LockError
from envbuild.kit.places import find_cache
from envbuild.kit.urls import expand_references, split_credentials, strip_credentials

if TYPE_CHECKING:
    from rattler.networking import Client

__all__ = [
    "BEFORE_VARIABLE",
    "MIRRORS_VARIABLE",
    "PINS_VARIABLE",
    "SIZES_VARIABLE",
    "VARIABLES_VARIABLE",
    "PrivateChannel",
    "child_command",
    "hide_variables",
    "leave",
    "mirror_environment",
    "open_client",
    "repodata_cache",
    "restore_variables",
]

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

BEFORE_VARIABLE: Final = "ENVBUILD_CONDA_EXCLUDE_NEWER"
"""Environment variable with a moment (RFC 3339): what was published then or later isn't seen."""

MIRRORS_VARIABLE: Final = "ENVBUILD_CONDA_MIRRORS"
"""Environment variable with a JSON object: URL prefix to the list of what stands in for it."""

PINS_VARIABLE: Final = "ENVBUILD_CONDA_PINS"
"""Environment variable that names a JSON file: platform to package name to SHA-256. A new solve
prefers these packages wherever the request and the channels still allow them."""

SIZES_VARIABLE: Final = "ENVBUILD_CONDA_SIZES"
"""Environment variable that names a file: each solve appends a line to it, a JSON object with the
sizes of its archives in bytes by SHA-256. conda-lock's own file has no place for them."""

VARIABLES_VARIABLE: Final = "ENVBUILD_CONDA_VARIABLES"
"""Environment variable with a JSON object: the variables that channels refer to, and their values.

conda-lock would put the values of those that it finds into command lines, which everybody on the
machine can read; a reference that it knows no value of stays as it is."""

TIMEOUT: Final = 180
"""Seconds that one request may take as a whole. rattler's default is for ever, also for a server
that says nothing; the biggest file, the index of a channel without shards, has about 40 MB."""


def child_command(module: str) -> list[str]:
    """Return the start of a command line that runs `main()` of `module` in a process of its own.

    It finds this very package, also where that isn't installed, and nothing in its own folder.
    """
    root = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.append({root!r}); from {module} import main; main()"
    return [sys.executable, "-P", "-c", code]


def mirror_environment(mirrors: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return the variable that hands `mirrors` to a child; `${VAR}` references stay references.

    Raises `EnvbuildError` `credential.unset`, and `LockError` `lock.mirror` for one that isn't on
    the web: rattler would refuse it.
    """
    for replacement in (r for replacements in mirrors.values() for r in replacements):
        expand_references(replacement)  # the child can't say as well which variable isn't set
        if not replacement.startswith(("https://", "http://")):
            raise LockError(
                "lock.mirror",
                f"the conda mirror `{strip_credentials(replacement)}` is not on the web",
                hint="serve it over http, or name the folder itself in `conda.channels`",
            )
    return {MIRRORS_VARIABLE: json.dumps({p: list(mirrors[p]) for p in mirrors})} if mirrors else {}


def hide_variables(environment: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return `environment` with the variables `names` where only `restore_variables` looks."""
    hidden = {name: environment[name] for name in sorted(names) if name in environment}
    shown = {name: value for name, value in environment.items() if name not in hidden}
    return {**shown, VARIABLES_VARIABLE: json.dumps(hidden)} if hidden else shown


def restore_variables() -> None:
    """Take the variables that `hide_variables` put aside into this process's environment."""
    os.environ.update(json.loads(os.environ.pop(VARIABLES_VARIABLE, "{}")))


@dataclass(frozen=True, kw_only=True, slots=True)
class PrivateChannel:
    """A channel whose URL has references: as the spec writes it, and in rattler's hands.

    rattler keeps the URLs of channels in its cache and in its messages, so `shown` has no login,
    and stand-ins for references in the path, as in `/t/TOKEN/`.
    """

    written: str
    shown: str

    @classmethod
    def parse(cls, written: str) -> PrivateChannel | None:
        """Return the channel; None if its URL has no references."""
        if "://" not in written or "${" not in written:
            return None
        head, _, rest = written.partition("://")
        netloc, slash, path = rest.partition("/")
        place = netloc.rpartition("@")[2]
        return cls(written=written, shown=_REFERENCE.sub(r"-\1-", f"{head}://{place}{slash}{path}"))

    def restore(self, url: str) -> str:
        """Return `url`, as rattler says it, as the spec would write it."""
        stem = self.shown.rstrip("/")
        if url != stem and not url.startswith(f"{stem}/"):
            return url
        return self.written.rstrip("/") + url[len(stem) :]


def open_client(channels: Sequence[PrivateChannel] = ()) -> Client:
    """Return rattler's HTTP client with the mirrors that the environment names.

    It takes proxies and certificates as envbuild's other clients do (`envbuild.kit.http`), and
    credentials from URLs, `RATTLER_AUTH_FILE`, netrc and rattler's own key ring entries. Its
    middlewares are those of rattler's `Client.default_client`, and the mirrors.
    """
    _agree_with_other_clients(os.environ)
    from rattler.networking import Client
    from rattler.networking.middleware import (
        AddHeadersMiddleware,
        AuthenticationMiddleware,
        GCSMiddleware,
        MirrorMiddleware,
        OciMiddleware,
        RetryMiddleware,
        S3Middleware,
    )

    mirrors, logins = _read_mirrors(channels)
    return Client(
        [
            RetryMiddleware(2),
            # Before the logins: those are for where a request really goes.
            *([MirrorMiddleware(mirrors)] if mirrors else []),
            *([AddHeadersMiddleware(logins)] if mirrors else []),
            AuthenticationMiddleware(),
            OciMiddleware(),
            GCSMiddleware(),
            S3Middleware(),
        ],
        timeout=TIMEOUT,
        user_agent="envbuild",
    )


def _read_mirrors(
    channels: Sequence[PrivateChannel],
) -> tuple[dict[str, list[str]], Callable[[str, str], dict[str, str] | None]]:
    """Return the mirrors without credentials, and what adds those to a request (host, path).

    rattler takes no account of credentials in a mirror's URL. A private channel is its own mirror.
    """
    named: dict[str, list[str]] = json.loads(os.environ.get(MIRRORS_VARIABLE) or "{}")
    for channel in channels:
        named.setdefault(channel.shown, [channel.written])
    known: dict[tuple[str, str], dict[str, str]] = {}
    mirrors: dict[str, list[str]] = {}
    for prefix, replacements in named.items():
        for replacement in replacements:
            plain, headers = split_credentials(replacement)
            mirrors.setdefault(prefix, []).append(plain)
            parts = urlsplit(plain)
            # Without a login in the URL these are netrc's, and rattler reads that itself.
            if "@" in urlsplit(replacement).netloc:
                known[parts.hostname or "", parts.path.rstrip("/") + "/"] = headers

    def find(host: str, path: str) -> dict[str, str] | None:
        for (its_host, stem), headers in known.items():
            if host == its_host and path.startswith(stem):
                return headers
        return None

    return mirrors, find


def _agree_with_other_clients(environment: os._Environ[str]) -> None:
    # rattler would ask a proxy for loopback, and reads one of the two variables for certificates.
    for name in ("NO_PROXY", "no_proxy"):
        direct = [part for part in (environment.get(name), "localhost,127.0.0.1,::1") if part]
        environment[name] = ",".join(direct)
    bundle = environment.get("REQUESTS_CA_BUNDLE")
    if bundle and Path(bundle).is_file():
        environment.setdefault("SSL_CERT_FILE", bundle)


def repodata_cache() -> Path:
    """Return the folder in which rattler keeps the channels' indexes; it locks what it writes."""
    return find_cache().root / "repodata"


def leave(code: int) -> NoReturn:
    """End this process at once, without Python's finalisation."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
