"""Where this machine's apt gets Debian packages from: its sources, keyrings and settings.

Formats: sources.list(5), the one-line style and deb822; apt.conf(5) through `apt-config`, so a
machine that keeps its configuration elsewhere (`APT_CONFIG`) is understood as apt understands it.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from envbuild.lock.debian_index import parse_stanza

__all__ = ["AptConfig", "ArchiveSource", "find_apt_config", "find_apt_sources"]

MAIN: Final = "main"
"""The component that a distribution's own archive has; somebody's extra repository mostly not."""

_SCHEMES: Final = frozenset({"http", "https", "file"})
_OPTIONS: Final = re.compile(r"\[([^\]]*)\]")
_ARMOR: Final = "-----BEGIN PGP PUBLIC KEY BLOCK-----"


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveSource:
    """One suite of one archive, and who may sign for it."""

    root: str
    """URL without a slash at its end; `dists/` and `pool/` are below it."""
    suite: str
    components: tuple[str, ...] = (MAIN,)
    keyrings: tuple[Path, ...] = ()
    """Files with the keys that may sign; none: all that this machine trusts for Debian."""
    inline_key: str = ""
    """ASCII-armored keys from the source itself."""
    fingerprints: frozenset[str] = frozenset()
    """If any: only these keys may sign."""
    must_be_fresh: bool = False
    """Refuse an index whose `Valid-Until` is over."""
    optional: bool = False
    """The archive may lack the suite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AptConfig:
    """The part of apt's configuration that matters here."""

    sources: Path = Path("/etc/apt/sources.list")
    parts: Path = Path("/etc/apt/sources.list.d")
    trusted: Path = Path("/etc/apt/trusted.gpg")
    trusted_parts: Path = Path("/etc/apt/trusted.gpg.d")
    netrc: Path = Path("/etc/apt/auth.conf")
    netrc_parts: Path = Path("/etc/apt/auth.conf.d")
    checks_dates: bool = True


def find_apt_config() -> AptConfig:
    """Return apt's configuration as `apt-config` tells it, else its defaults."""
    tool = shutil.which("apt-config")
    if tool is None:
        return AptConfig()
    names = {
        "sources": "Dir::Etc::sourcelist/f",
        "parts": "Dir::Etc::sourceparts/d",
        "trusted": "Dir::Etc::trusted/f",
        "trusted_parts": "Dir::Etc::trustedparts/d",
        "netrc": "Dir::Etc::netrc/f",
        "netrc_parts": "Dir::Etc::netrcparts/d",
        "dates": "Acquire::Check-Valid-Until",
    }
    argv = [tool, "shell", *(word for pair in names.items() for word in pair)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    values: dict[str, str] = {}
    for word in shlex.split(done.stdout, comments=False):
        name, _, value = word.partition("=")
        values[name] = value
    usual = AptConfig()
    return AptConfig(
        sources=Path(values.get("sources") or usual.sources),
        parts=Path(values.get("parts") or usual.parts),
        trusted=Path(values.get("trusted") or usual.trusted),
        trusted_parts=Path(values.get("trusted_parts") or usual.trusted_parts),
        netrc=Path(values.get("netrc") or usual.netrc),
        netrc_parts=Path(values.get("netrc_parts") or usual.netrc_parts),
        checks_dates=_is_true(values.get("dates", "true")),
    )


def _is_true(text: str) -> bool:
    return text.strip().lower() not in {"false", "no", "0", "off", "without", "disable"}


def find_apt_sources(config: AptConfig) -> tuple[ArchiveSource, ...]:
    """Return the binary sources of apt, one per root and suite, in the order of apt's files.

    Left out are disabled ones, media, flat repositories, and those without the component `main`.
    """
    merged: dict[tuple[str, str], ArchiveSource] = {}
    for source in _read_all(config):
        key = (source.root, source.suite)
        known = merged.get(key)
        if known is None:
            merged[key] = source
        else:
            components = dict.fromkeys((*known.components, *source.components))
            merged[key] = replace(known, components=tuple(components))
    return tuple(source for source in merged.values() if MAIN in source.components)


def _read_all(config: AptConfig) -> Iterator[ArchiveSource]:
    yield from _read_list(_read(config.sources), config)
    folder = sorted(config.parts.iterdir()) if config.parts.is_dir() else []
    for file in folder:
        if file.suffix == ".list":
            yield from _read_list(_read(file), config)
        elif file.suffix == ".sources":
            yield from _read_deb822(_read(file), config)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Raw:
    """One source before its URIs and suites are multiplied out."""

    uris: list[str]
    suites: list[str]
    components: list[str]
    signed_by: str = ""
    options: dict[str, str] = field(default_factory=dict)


def _read_list(text: str, config: AptConfig) -> Iterator[ArchiveSource]:
    """Read the one-line style: `deb [name=value ...] URI SUITE COMPONENT...`."""
    for line in text.splitlines():
        plain = line.partition("#")[0].strip()
        found = _OPTIONS.search(plain)
        words = _OPTIONS.sub(" ", plain, count=1).split() if found else plain.split()
        if len(words) < 4 or words[0] != "deb":
            continue
        pairs = (word.partition("=") for word in (found[1].split() if found else ()))
        options = {name.lower(): value for name, _, value in pairs}
        raw = _Raw(
            uris=[words[1]],
            suites=[words[2]],
            components=words[3:],
            signed_by=options.get("signed-by", "").replace(",", " "),
            options=options,
        )
        yield from _expand(raw, config)


def _read_deb822(text: str, config: AptConfig) -> Iterator[ArchiveSource]:
    """Read stanzas with `Types`, `URIs`, `Suites`, `Components` and the rest."""
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", plain):
        fields = {name.lower(): value for name, value in parse_stanza(stanza).items()}
        if "deb" not in fields.get("types", "").split() or not _is_true(
            fields.get("enabled", "yes")
        ):
            continue
        raw = _Raw(
            uris=fields.get("uris", "").split(),
            suites=fields.get("suites", "").split(),
            components=fields.get("components", "").split(),
            signed_by=fields.get("signed-by", ""),
            options=fields,
        )
        yield from _expand(raw, config)


def _expand(raw: _Raw, config: AptConfig) -> Iterator[ArchiveSource]:
    own = raw.options.get("check-valid-until")
    template = ArchiveSource(
        root="",
        suite="",
        components=tuple(raw.components),
        must_be_fresh=config.checks_dates if own is None else _is_true(own),
    )
    template = _add_signers(template, raw.signed_by)
    for uri in raw.uris:
        for root in _find_roots(uri):
            for suite in raw.suites:
                if not suite.endswith("/"):
                    yield replace(template, root=root, suite=suite)


def _add_signers(source: ArchiveSource, text: str) -> ArchiveSource:
    """Return `source` with what its `Signed-By` says: files, fingerprints, or a key in full."""
    if _ARMOR in text:
        # deb822 writes an empty line of the armor as a lone dot.
        lines = ["" if line.strip() == "." else line.strip() for line in text.splitlines()]
        return replace(source, inline_key="\n".join(lines).strip() + "\n")
    words = text.split()
    return replace(
        source,
        keyrings=tuple(Path(word) for word in words if word.startswith("/")),
        fingerprints=frozenset(w.rstrip("!").upper() for w in words if not w.startswith("/")),
    )


def _find_roots(uri: str) -> tuple[str, ...]:
    """Return the roots that a source's URI stands for; none where it isn't one to download from."""
    if uri.startswith("mirror+file:"):
        listed = _read(Path(urlsplit(uri.removeprefix("mirror+")).path)).splitlines()
        lines = (line.partition("#")[0].split() for line in listed)
        return tuple(root for words in lines if words for root in _find_roots(words[0]))
    parts = urlsplit(uri)
    if parts.scheme not in _SCHEMES:
        return ()
    if parts.scheme == "file":
        return ("file://" + parts.path.rstrip("/"),)
    return (uri.rstrip("/"),)
