"""Finds the sizes of wheels that an index doesn't tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from envbuild.kit.crew import run_crew
from envbuild.kit.http import shared_pool
from envbuild.kit.urls import split_credentials
from envbuild.lock.pip_indexes import Indexes
from envbuild.lock.wheel_choice import WheelFile

__all__ = ["find_sizes", "lend_credentials"]

_THREADS: Final = 8


def find_sizes(files: list[WheelFile], indexes: Indexes) -> list[WheelFile]:
    """Return `files` with their sizes in bytes; 0 stays where no one tells without a download."""
    unknown = [file for file in files if not file.size]

    def work(file: WheelFile, check: Callable[[], None]) -> WheelFile:
        check()
        return replace(file, size=_find_size(file.url, indexes))

    found = {f.filename: f for f in run_crew(work, unknown, threads=_THREADS)} if unknown else {}
    return [found.get(file.filename, file) for file in files]


def _find_size(url: str, indexes: Indexes) -> int:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path)).stat().st_size
    from urllib3.exceptions import HTTPError

    plain, headers = split_credentials(lend_credentials(url, indexes))
    headers["Accept-Encoding"] = "identity"
    try:
        answer = shared_pool().request("HEAD", plain, headers=headers)
    except HTTPError:
        return 0
    length = answer.headers.get("Content-Length", "")
    return int(length) if answer.status == 200 and length.isdecimal() else 0


def lend_credentials(url: str, indexes: Indexes) -> str:
    """Return `url` with the credentials of an index at the same place: scheme, host and port."""
    parts = urlsplit(url)
    for index in indexes.urls:
        known = urlsplit(index)
        user_info, at, place = known.netloc.rpartition("@")
        if at and (known.scheme, place) == (parts.scheme, parts.netloc):
            return parts._replace(netloc=f"{user_info}@{place}").geturl()
    return url
