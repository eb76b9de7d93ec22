"""Downloads one file from the first of several places that has it, and proves its SHA-256."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from envbuild.errors import EnvbuildError
from envbuild.kit.canonical import CHUNK, digest_file
from envbuild.kit.disk import disk_errors
from envbuild.kit.files import atomic_writer
from envbuild.kit.http import describe_failure, shared_pool
from envbuild.kit.login import FindLogin, describe_login
from envbuild.kit.progress import Progress, Silent
from envbuild.kit.retry import RETRIED_STATUSES, Patience
from envbuild.kit.urls import split_credentials, strip_credentials

if TYPE_CHECKING:
    import urllib3

__all__ = ["fetch_file"]

_GONE: Final = frozenset({404, 410})
_REFUSED: Final = frozenset({401, 403, 407})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What is wanted, and who is told."""

    sha256: str
    target: Path
    size: int
    progress: Progress
    task: str
    shown: str
    pool: urllib3.PoolManager | None
    patience: Patience
    own: FindLogin | None

    def request(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        pool = self.pool or shared_pool()
        return pool.request("GET", url, headers=headers, preload_content=False)


class _Failed(Exception):  # noqa: N818 - an answer of one attempt, not an error of its own
    """One attempt failed: the code it would be reported under, and why."""

    def __init__(
        self, code: str, reason: str, *, again: bool = False, retry_after: str | None = None
    ) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.again = again
        self.retry_after = retry_after


def fetch_file(
    urls: Sequence[str],
    *,
    sha256: str,
    target: Path,
    size: int = 0,
    progress: Progress | None = None,
    task: str = "",
    shown: str = "",
    pool: urllib3.PoolManager | None = None,
    patience: Patience | None = None,
    own: FindLogin | None = None,
) -> Path:
    """Return `target`, holding the file whose SHA-256 is `sha256` (64 hex digits).

    If it is there with that hash, nothing is done. Else `urls` (http, https or file; `${VAR}` and
    `user:password@` allowed) are tried in order, each several times where that may help. `size`
    in bytes and the name `shown` are for the progress only; `own` finds logins besides netrc. Safe
    in several threads and processes at once.

    Raises `EnvbuildError`: `fetch.gone` (no place has the file), `fetch.hash-mismatch`,
    `fetch.unauthorised`, `fetch.failed`, `credential.unset`, `disk.full`, `disk.refused`.
    """
    wanted = sha256.removeprefix("sha256:").lower()
    if target.is_file() and digest_file(target) == f"sha256:{wanted}":
        return target
    job = _Job(
        sha256=wanted,
        target=target,
        size=size,
        progress=progress or Silent(),
        task=task or target.name,
        shown=shown or target.name,
        pool=pool,
        patience=patience or Patience(),
        own=own,
    )
    failures: list[tuple[str, _Failed]] = []
    for url in urls:
        failure = _try_url(job, url)
        if failure is None:
            return target
        failures.append((url, failure))
    raise _explain(target.name, failures, own)


def _try_url(job: _Job, url: str) -> _Failed | None:
    attempt = 0
    while True:
        attempt += 1
        try:
            _download(job, url)
        except _Failed as failure:
            if not failure.again or attempt >= job.patience.attempts:
                return failure
            time.sleep(job.patience.pause(attempt, failure.retry_after))
        else:
            return None


def _download(job: _Job, url: str) -> None:
    digest = hashlib.sha256()
    done = 0
    with disk_errors(job.target), atomic_writer(job.target) as file:
        for chunk in _read(job, url):
            digest.update(chunk)
            file.write(chunk)
            done += len(chunk)
            job.progress.update(job.task, f"downloading {job.shown}", done, job.size)
        got = digest.hexdigest()
        if got != job.sha256:
            raise _Failed("fetch.hash-mismatch", f"is `{got}` there, not `{job.sha256}`")


def _read(job: _Job, url: str) -> Iterator[bytes]:
    if urlsplit(url).scheme == "file":
        return _read_file(url)
    return _read_http(job, url)


def _read_file(url: str) -> Iterator[bytes]:
    path = Path(url2pathname(urlsplit(url).path))
    if not path.is_file():
        raise _Failed("fetch.gone", "there is no such file")
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise _Failed("fetch.failed", (error.strerror or "it can't be read").lower()) from error


def _read_http(job: _Job, url: str) -> Iterator[bytes]:
    from urllib3.exceptions import HTTPError

    plain, headers = split_credentials(url, job.own)
    # A server that compresses on the way would change the bytes that the hash is about.
    headers["Accept-Encoding"] = "identity"
    try:
        response = job.request(plain, headers)
    except HTTPError as error:
        raise _Failed("fetch.failed", describe_failure(error), again=True) from error
    try:
        _check_status(response)
        yield from response.stream(CHUNK, decode_content=False)
    except HTTPError as error:
        raise _Failed("fetch.failed", describe_failure(error), again=True) from error
    finally:
        # A body that was read to its end has given its connection back already.
        response.close()


def _check_status(response: urllib3.BaseHTTPResponse) -> None:
    status = response.status
    if status == 200:
        return
    reason = f"the server answered {status}"
    if status in _GONE:
        raise _Failed("fetch.gone", reason)
    if status in _REFUSED:
        raise _Failed("fetch.unauthorised", reason)
    again = status in RETRIED_STATUSES
    raise _Failed(
        "fetch.failed", reason, again=again, retry_after=response.headers.get("Retry-After")
    )


def _explain(
    name: str, failures: Sequence[tuple[str, _Failed]], own: FindLogin | None
) -> EnvbuildError:
    """Return the gravest failure as an error that names every place that was asked."""
    order = ("fetch.hash-mismatch", "fetch.unauthorised", "fetch.failed", "fetch.gone")
    codes = {failure.code for _, failure in failures}
    code = next((code for code in order if code in codes), "fetch.gone")
    places = "; ".join(f"`{strip_credentials(url)}`: {f.reason}" for url, f in failures)
    message, hint = _WORDS[code]
    if code == "fetch.unauthorised":
        refused = next(url for url, failure in failures if failure.code == code)
        login = describe_login(refused, own)
        places, hint = f"{places}, asked {login.words}", f"to mend it, {login.advice}"
    return EnvbuildError(code, f"{message.format(name=name)} ({places or 'no URL'})", hint=hint)


_WORDS: Final = {
    "fetch.gone": (
        "`{name}` is nowhere to be found any more",
        "to choose packages that still exist, run `nox -s lock -- NAME --upgrade`",
    ),
    "fetch.hash-mismatch": (
        "`{name}` is not the file that was locked",
        "somebody changed the file or the way to it is broken; find out which before you lock anew",
    ),
    "fetch.unauthorised": (
        "`{name}` may not be downloaded",
        "check the login",
    ),
    "fetch.failed": (
        "`{name}` can't be downloaded",
        "check the network and the proxy settings, then try again",
    ),
}
