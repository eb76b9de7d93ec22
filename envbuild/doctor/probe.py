"""Asks a server one short question, to see whether it answers at all."""

from __future__ import annotations

import email.utils
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from envbuild.doctor.finding import Finding
from envbuild.kit.http import describe_failure, open_pool
from envbuild.kit.proxy import is_loopback
from envbuild.kit.retry import Patience
from envbuild.kit.urls import split_credentials, strip_credentials

__all__ = ["Answer", "ask", "judge"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A status and the server's clock in seconds since the epoch; without a status, why not."""

    status: int = 0
    moment: float | None = None
    reason: str = ""


def ask(url: str, patience: Patience, *, ca: Path | None = None) -> Answer:
    """Return the answer to a GET of `url`, of which no body is read; a folder answers as 200.

    Raises `EnvbuildError` `credential.unset` where the URL refers to a variable that isn't set.
    """
    plain, headers = split_credentials(url)
    parts = urlsplit(plain)
    if parts.scheme not in {"http", "https"}:
        path = Path(url2pathname(parts.path) if parts.scheme == "file" else plain)
        return Answer(status=200 if path.exists() else 404)
    import urllib3

    with open_pool(ca=ca, patience=patience) as pool:
        try:
            response = pool.request("GET", plain, headers=headers, preload_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return Answer(reason=describe_failure(error))
        try:
            return Answer(status=response.status, moment=_read_date(response.headers.get("Date")))
        finally:
            response.close()


def _read_date(text: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text or "").timestamp()
    except ValueError:
        return None


def judge(subject: str, url: str, answer: Answer, *, absent: str = "") -> Finding:
    """Return what an answer means; `absent` is what a 404 says, where that is a problem."""
    shown = f"`{strip_credentials(url)}`"
    if not answer.status:
        return Finding(
            subject=subject,
            state="problem",
            message=f"{shown} can't be reached: {answer.reason}",
            hint=_suggest_way(url),
        )
    if answer.status in {401, 403, 407}:
        return Finding(
            subject=subject,
            state="problem",
            message=f"{shown} refuses the login, or wants one (it answered {answer.status})",
            hint="give the URL a login by reference, `https://${USER}:${PASSWORD}@...`, "
            "or write one for its host into `~/.netrc`",
        )
    if answer.status >= 500 or answer.status == 429:
        return Finding(
            subject=subject,
            state="problem",
            message=f"{shown} answered {answer.status}",
            hint="try again in a while; if it stays so, ask whoever runs it",
        )
    if answer.status in {404, 410} and absent:
        return Finding(
            subject=subject, state="problem", message=f"{shown}: {absent}", hint="check the URL"
        )
    return Finding(subject=subject, message=f"{shown} answers")


def _suggest_way(url: str) -> str:
    host = urlsplit(url).hostname or ""
    if is_loopback(host):
        return "start the server, or check the port in the URL"
    return (
        f"see whether `curl -I {strip_credentials(url)}` gets through; "
        "a proxy is set by the variable `HTTPS_PROXY`, certificates by `SSL_CERT_FILE`"
    )
