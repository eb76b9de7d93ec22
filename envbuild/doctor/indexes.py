"""Python package indexes: does each one that an environment uses answer?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from envbuild.doctor.finding import Finding, Visit
from envbuild.doctor.probe import Answer, ask, judge
from envbuild.kit.urls import strip_credentials
from envbuild.lock.pip_indexes import Indexes, find_indexes
from envbuild.spec.model import EnvSpec

__all__ = ["check_indexes", "default_index"]


def check_indexes(visit: Visit) -> Iterator[Finding]:
    """Ask every index, those of the specs and those that pip is configured for."""
    seen: set[str] = set()
    specs = list(visit.specs.values()) or [EnvSpec(python="3.11.*")]
    for spec in specs:
        indexes = find_indexes(spec, logs=visit.workspace.cache.logs)
        if indexes.no_index:
            continue
        main = () if indexes.index_url else (default_index(),)
        for url in (*main, *indexes.urls):
            if url and url not in seen:
                seen.add(url)
                yield _check(visit, url, indexes)
        for link in indexes.find_links:
            if link not in seen:
                seen.add(link)
                yield judge(
                    "links", link, ask(link, visit.patience), absent="there is no such place"
                )


def default_index() -> str:
    """Return the index of a pip that nobody has configured; "" where pip doesn't say."""
    try:
        from pip._internal.models.index import PyPI  # said nowhere else
    except ImportError:
        return ""
    return str(PyPI.simple_url)


def _check(visit: Visit, url: str, indexes: Indexes) -> Finding:
    parts = urlsplit(url)
    if indexes.settings.get("proxy") or parts.hostname in indexes.trusted:
        shown = strip_credentials(url)
        return Finding(
            subject="index", message=f"`{shown}` is reached in pip's own way, and was not asked"
        )
    cert = indexes.settings.get("cert")
    # A page of one project: the list of all of them is long, and many indexes have none.
    page = url if parts.scheme == "file" else f"{url.rstrip('/')}/pip/"
    answer: Answer = ask(page, visit.patience, ca=Path(cert) if cert else None)
    absent = "there is no such folder" if parts.scheme == "file" else ""
    return judge("index", url, answer, absent=absent)
