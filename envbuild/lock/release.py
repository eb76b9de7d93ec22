"""An archive's signed table of contents, `InRelease`: downloaded when it changed, verified, read.

Format: the Debian wiki's DebianRepository/Format. The newest verified one of each suite is kept,
with what its server needs to answer that nothing changed; its signature is checked again each
time, because the keys that this machine trusts may have changed.
"""

from __future__ import annotations

import email.utils
import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from envbuild.errors import LockError
from envbuild.kit.disk import disk_errors
from envbuild.kit.files import write_atomic
from envbuild.kit.http import describe_failure, shared_pool
from envbuild.kit.login import FindLogin, describe_login
from envbuild.kit.retry import RETRIED_STATUSES, Patience
from envbuild.kit.urls import split_credentials, strip_credentials
from envbuild.lock.apt_auth import find_login
from envbuild.lock.apt_sources import AptConfig, ArchiveSource
from envbuild.lock.debian_index import parse_stanza
from envbuild.lock.debian_signature import check_signature

__all__ = ["Release", "ReleaseFile", "find_release", "parse_release"]

_UNCHANGED: Final = 304
_GONE: Final = frozenset({404, 410})
_HREF: Final = re.compile(r'href="(?:\./)?([a-z][a-z0-9.-]*)/"')


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseFile:
    """A file that a release lists; `size` in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """What a verified `InRelease` says. `files` maps paths below `dists/SUITE/` to hashes."""

    suite: str
    codename: str
    architectures: tuple[str, ...]
    by_hash: bool
    """Files are also there under `by-hash/SHA256/<hash>`."""
    all_apart: bool
    """Packages for every architecture are in `binary-all` alone."""
    valid_until: float | None
    """Seconds since the epoch."""
    files: Mapping[str, ReleaseFile]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    status: int
    data: bytes = b""
    tag: str = ""
    modified: str = ""


def find_release(
    source: ArchiveSource, config: AptConfig, *, folder: Path, patience: Patience | None = None
) -> Release | None:
    """Return the release of `source`'s suite; None if it is optional and the archive lacks it.

    `folder` keeps the newest one. Raises `LockError`: `lock.archive-down`, `lock.archive-suite`
    (not there, or another suite's file), `lock.archive-signature`, `lock.archive-expired`,
    `lock.no-keyring`; `ToolError` `tool.missing` without gpgv.
    """
    url = f"{source.root}/dists/{source.suite}/InRelease"
    shown = strip_credentials(url)
    stem = hashlib.sha256(shown.encode()).hexdigest()[:32]
    kept, facts = folder / f"{stem}.inrelease", folder / f"{stem}.json"
    old = kept.read_bytes() if kept.is_file() else b""
    own = partial(find_login, config=config)
    answer = _get(url, _read_validators(facts, old), patience or Patience(), own)
    if answer.status in _GONE:
        if source.optional:
            return None
        raise _no_suite(source, patience or Patience(), own)
    if answer.status not in {200, _UNCHANGED}:
        raise _refused(url, answer.status, own)
    data = old if answer.status == _UNCHANGED else answer.data
    release = parse_release(check_signature(data, source, config, url=shown))
    _check_release(release, source, shown)
    with disk_errors(kept):
        if data != old:
            write_atomic(kept, data)
        if answer.status == 200:
            write_atomic(facts, json.dumps(_describe(shown, data, answer), indent=1))
    return release


def _describe(url: str, data: bytes, answer: _Answer) -> dict[str, str]:
    # The hash ties the validators to the bytes: the two files are not written at one stroke.
    digest = hashlib.sha256(data).hexdigest()
    return {"url": url, "sha256": digest, "tag": answer.tag, "modified": answer.modified}


def _read_validators(facts: Path, old: bytes) -> dict[str, str]:
    try:
        known = json.loads(facts.read_bytes())
        if not old or known["sha256"] != hashlib.sha256(old).hexdigest():
            return {}
        pairs = {"If-None-Match": known["tag"], "If-Modified-Since": known["modified"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {name: str(value) for name, value in pairs.items() if value}


def _get(url: str, headers: Mapping[str, str], patience: Patience, own: FindLogin) -> _Answer:
    """Return the answer to one GET, after trying again where that may help."""
    from urllib3.exceptions import HTTPError

    if urlsplit(url).scheme == "file":
        path = Path(url2pathname(urlsplit(url).path))
        return (
            _Answer(status=200, data=path.read_bytes()) if path.is_file() else _Answer(status=404)
        )
    plain, credentials = split_credentials(url, own)
    attempt = 0
    while True:
        attempt += 1
        last = attempt >= patience.attempts
        try:
            got = shared_pool().request("GET", plain, headers={**headers, **credentials})
        except HTTPError as error:
            if last:
                raise _down(strip_credentials(url), describe_failure(error)) from error
            time.sleep(patience.pause(attempt))
            continue
        if got.status not in RETRIED_STATUSES or last:
            tag, modified = got.headers.get("ETag", ""), got.headers.get("Last-Modified", "")
            return _Answer(status=got.status, data=got.data, tag=tag, modified=modified)
        time.sleep(patience.pause(attempt, got.headers.get("Retry-After")))


def _refused(url: str, status: int, own: FindLogin) -> LockError:
    if status not in {401, 403, 407}:
        return _down(strip_credentials(url), f"the server answered {status}")
    login = describe_login(url, own)
    return LockError(
        "lock.archive-down",
        f"the Debian archive can't be read: `{strip_credentials(url)}`: the server answered "
        f"{status}, asked {login.words}",
        hint=f"to mend it, {login.advice}",
    )


def _down(url: str, reason: str) -> LockError:
    return LockError(
        "lock.archive-down",
        f"the Debian archive can't be read: `{url}`: {reason}",
        hint="check the network and the proxy settings, or name another archive as "
        "`debian-archives` in `[tool.envbuild]`",
    )


def _no_suite(source: ArchiveSource, patience: Patience, own: FindLogin) -> LockError:
    known = _list_suites(source, patience, own)
    words = f"; it has {', '.join(f'`{name}`' for name in known)}" if known else ""
    return LockError(
        "lock.archive-suite",
        f"the archive `{strip_credentials(source.root)}` has no suite `{source.suite}`{words}",
        hint='name one that it has, as in `base = "debian:bookworm"`, or another archive as '
        "`debian-archives` in `[tool.envbuild]`",
    )


def _list_suites(source: ArchiveSource, patience: Patience, own: FindLogin) -> tuple[str, ...]:
    """Return the suites in the archive's listing of `dists/`, where it shows one."""
    try:
        answer = _get(f"{source.root}/dists/", {}, patience, own)
    except LockError:
        return ()
    if answer.status != 200:
        return ()
    return tuple(sorted(set(_HREF.findall(answer.data.decode(errors="replace")))))


def parse_release(text: str) -> Release:
    """Return what the text of a `Release` says; fields that are missing count as empty."""
    fields = parse_stanza(text)
    words = fields.get("Architectures", "").split()
    files: dict[str, ReleaseFile] = {}
    for line in fields.get("SHA256", "").splitlines():
        parts = line.split()
        if len(parts) == 3 and parts[1].isdecimal():
            files[parts[2]] = ReleaseFile(sha256=parts[0].lower(), size=int(parts[1]))
    return Release(
        suite=fields.get("Suite", ""),
        codename=fields.get("Codename", ""),
        architectures=tuple(words),
        by_hash=fields.get("Acquire-By-Hash", "").lower() == "yes",
        all_apart="all" in words
        and "Packages" not in fields.get("No-Support-for-Architecture-all", "").split(),
        valid_until=_parse_date(fields.get("Valid-Until", "")),
        files=files,
    )


def _parse_date(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() if text else None
    except ValueError:
        return None


def _check_release(release: Release, source: ArchiveSource, url: str) -> None:
    if source.suite not in {release.suite, release.codename}:
        name = release.codename or release.suite
        raise LockError(
            "lock.archive-suite",
            f"`{url}` is signed for suite `{name}`, not for `{source.suite}`",
            hint="name another archive as `debian-archives` in `[tool.envbuild]`",
        )
    over = release.valid_until is not None and release.valid_until < time.time()
    if over and source.must_be_fresh:
        raise LockError(
            "lock.archive-expired",
            f"`{url}` is no longer valid, so the archive may hold back newer packages",
            hint="check this machine's clock; if the archive is a snapshot, name it as "
            "`debian-archives` in `[tool.envbuild]`",
        )
