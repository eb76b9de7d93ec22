"""What names images and what is in them: bases, repositories, users, labels, Debian suites."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final, Literal

from envbuild.spec.formats.base import Format
from envbuild.spec.formats.paths import RELATIVE_PATH, explain_relative

__all__ = [
    "BUILD_TARGET",
    "DEFAULT_BASE",
    "DOCKERFILE",
    "IMAGE_BASE",
    "LABEL",
    "REPOSITORY",
    "SECRET_ID",
    "SUITE",
    "USER",
    "Base",
    "parse_base",
]

DEFAULT_BASE: Final = "debian:bookworm"
"""The base of a spec that names neither a base nor a Dockerfile."""

_PART: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_HOST: Final = (
    r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9.-]+(?=:[0-9]))(?::[0-9]{1,5})?"
)
_PATH: Final = rf"{_PART}(?:/{_PART})*"
_TAG: Final = r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST: Final = r"@sha256:[0-9a-f]{64}"
_SUITE: Final = r"[a-z]+"

SUITE = Format(
    name="Debian suite",
    expected="the name of a Debian suite",
    examples=("bookworm", "trixie"),
    pattern=_SUITE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """What `image.base` says, or that a Dockerfile builds the base.

    `suite` is set for `debian`, `reference` for `registry` (as written, not normalised).
    """

    kind: Literal["scratch", "debian", "registry", "dockerfile"]
    suite: str | None = None
    reference: str | None = None


def _explain_base(text: str) -> str | None:
    if re.fullmatch(r"debian(?::.*)?", text):
        return (
            "`debian:` takes a suite's name and is assembled from Debian's packages; for a "
            f"registry's image of that name write `docker.io/library/{text.lower()}`"
        )
    if re.match(r"https?://|docker://", text):
        return f"leave out `{text.partition('://')[0]}://`"
    if re.search(r"\s", text):
        return "a reference has no spaces"
    name = text.rpartition("/")[2].partition("@")[0].partition(":")[0]
    if name != name.lower():
        return "the names of images are in lower case"
    return None


IMAGE_BASE = Format(
    name="base image",
    expected="`scratch`, `debian:SUITE`, or the reference of a registry's image",
    examples=(
        "debian:bookworm",
        "docker.io/library/python:3.11-slim",
        "scratch",
        "registry.example.com/team/base:2.1",
    ),
    pattern=(
        rf"(?:debian:{_SUITE}|(?!debian(?:[:@]|$))(?:{_HOST}/)?{_PATH}(?:{_TAG})?(?:{_DIGEST})?)"
    ),
    explain=_explain_base,
)


@functools.lru_cache(maxsize=256)
def parse_base(text: str) -> Base:
    """Return what `text`, an `IMAGE_BASE`, stands for. Raises `ValueError` for another text."""
    problem = IMAGE_BASE.check(text)
    if problem:
        raise ValueError(problem)
    if text == "scratch":
        return Base(kind="scratch")
    if text.startswith("debian:"):
        return Base(kind="debian", suite=text.partition(":")[2])
    return Base(kind="registry", reference=text)


def _explain_dockerfile(text: str) -> str | None:
    if re.match(r"\s*(?:from|arg)\s", text, re.IGNORECASE):
        return "a Dockerfile's text stands between three quotes, on lines of its own"
    return explain_relative(text)


DOCKERFILE = Format(
    name="Dockerfile",
    expected="a path in the repository, or a text with line breaks",
    examples=("docker/Dockerfile",),
    pattern=(
        rf"(?:(?![Ff][Rr][Oo][Mm] |[Aa][Rr][Gg] ){RELATIVE_PATH.pattern}|[^\u0000]*\n[^\u0000]*)"
    ),
    explain=_explain_dockerfile,
)

BUILD_TARGET = Format(
    name="build stage",
    expected="the name or number of a stage in the Dockerfile",
    examples=("runtime", "0"),
    pattern=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
)

SECRET_ID = Format(
    name="secret's ID",
    expected="letters, digits, `_`, `.` and `-`",
    examples=("token",),
    pattern=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
)


def _explain_repository(text: str) -> str | None:
    if found := re.match(r"[a-z]+://", text):
        return f"leave out `{found[0]}`"
    if "@" in text or ":" in text.rpartition("/")[2]:
        return "leave out the tag or digest; envbuild gives each image its own"
    if text != text.lower():
        return f"names are in lower case: `{text.lower()}`"
    if re.fullmatch(rf"{_PATH}", text):
        return f"begin with the registry: `docker.io/{text}`"
    if text.endswith("/"):
        return "leave out the `/` at the end"
    return None


REPOSITORY = Format(
    name="repository",
    expected="a registry, with its port if it has one, and a path, without tag",
    examples=("registry.example.com/team", "localhost:5000/ml", "docker.io/me/envs"),
    pattern=rf"{_HOST}(?:/{_PART})*",
    explain=_explain_repository,
)


def _explain_host(text: str) -> str | None:
    if "/" in text:
        return "leave out the scheme and the path"
    if re.fullmatch(r"[A-Za-z0-9-]+", text):
        return 'a name with dots stands in quotes, such as `[..."registry.example.com"]`'
    return None


REGISTRY_HOST = Format(
    name="registry host",
    expected="a registry's host, with its port if it has one",
    examples=("registry.example.com", "localhost:5000"),
    pattern=_HOST,
    explain=_explain_host,
)


def _explain_user(text: str) -> str | None:
    if re.fullmatch(r"[a-z_][a-z0-9_-]*(?::.*)?", text):
        return "the image knows no other names, so give the user's number"
    return None


USER = Format(
    name="user",
    expected="`root`, `nonroot`, or numbers `UID` or `UID:GID`",
    examples=("nonroot", "root", "1000", "1000:1000"),
    pattern=r"(?:root|nonroot|[0-9]{1,9}(?::[0-9]{1,9})?)",
    explain=_explain_user,
)


def _explain_label(text: str) -> str | None:
    if text.startswith("envbuild."):
        return "labels that begin with `envbuild.` are envbuild's own"
    return None


LABEL = Format(
    name="label's name",
    expected="a name without spaces and `=`",
    examples=("team", "org.opencontainers.image.title"),
    pattern=r"(?!envbuild\.)[^\s=\u0000-\u001f]+",
    explain=_explain_label,
)
