"""Reads from a resolver's output what is wrong with a package itself, whatever was asked for."""

from __future__ import annotations

import re
from typing import Final

from envbuild.errors import LockError
from envbuild.kit.urls import strip_credentials
from envbuild.lock.pip_job import unmark

__all__ = ["explain_fault"]

_OTHER_BYTES: Final = (
    re.compile(  # uv's
        r"Hash mismatch for [^`]*`(?P<url>[^`]+)`\s+Expected:\s+sha256:(?P<listed>[0-9a-f]+)"
        r"\s+Computed:\s+sha256:(?P<served>[0-9a-f]+)"
    ),
    re.compile(  # pip's
        r" from (?P<url>\w+://\S+)[^\n]*\n\s+Expected sha256 (?P<listed>[0-9a-f]+)"
        r"\s+Got\s+(?P<served>[0-9a-f]+)"
    ),
)
_OTHER_NAME: Final = re.compile(
    r"Package metadata (?:name|version) `([^`]+)` does not match given (?:name|version) `([^`]+)`"
)
_BY_URL: Final = re.compile(
    r"for package `([^`]+)` cause: Package `([^`]+)` was included as a URL dependency"
    r".*? Consider adding `[^`]+? @ ([^`]+)`"
)


def explain_fault(output: str, task: str) -> LockError | None:
    """Return the error for a file that is not what its index lists, or for what no index has.

    `output` is that of pip or uv; None if it says nothing of the kind.
    """
    return (
        _find_other_bytes(output, task) or _find_other_name(output, task) or _find_url(output, task)
    )


def _find_other_bytes(output: str, task: str) -> LockError | None:
    for pattern in _OTHER_BYTES:
        if found := pattern.search(output):
            return LockError(
                "lock.hash-mismatch",
                f"`{strip_credentials(found['url'])}` is not what the package index lists: its "
                f"SHA-256 is `{found['served']}`, and `{found['listed']}` is listed",
                hint=_ask(task),
            )
    return None


def _find_other_name(output: str, task: str) -> LockError | None:
    found = _OTHER_NAME.search(output)
    if found is None:
        return None
    return LockError(
        "lock.wrong-metadata",
        f"what the package index has as `{found[2]}` says of itself that it is `{found[1]}`",
        hint=_ask(task),
    )


def _ask(task: str) -> str:
    return (
        "ask whoever runs the index why, for it may be an attack; once it is mended, run "
        f"`nox -s lock -- {task}`"
    )


def _find_url(output: str, task: str) -> LockError | None:
    found = _BY_URL.search(" ".join(output.split()))  # uv breaks its lines at some width
    if found is None:
        return None
    asker, name, url = unmark(found[1]), found[2], strip_credentials(found[3])
    return LockError(
        "lock.url-dependency",
        f"`{asker}` asks for `{name} @ {url}`, and a package that another one asks for can only "
        "come from an index",
        hint=f'to take `{name}` from an index, write `overrides = ["{name}"]` under `[pip]` in '
        f"`envs/{task}.toml`, then run `nox -s lock -- {task}`",
    )
