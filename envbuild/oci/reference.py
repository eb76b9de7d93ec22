"""Image references as Docker writes and completes them: `debian:12`, `localhost:5000/a@sha256:...`.

Grammar and completion: the `reference` module of the CNCF distribution project, whose rules the
Docker client follows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from envbuild.errors import RegistryError

__all__ = ["DOCKER_HUB", "Reference", "parse_reference"]

DOCKER_HUB: Final = "docker.io"
"""The registry of a name that names none."""

_OLD_HUB: Final = "index.docker.io"
_OFFICIAL: Final = "library/"
_LONGEST_NAME: Final = 255

_LABEL: Final = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_PORT: Final = re.compile(r":([0-9]+)\Z")
_PART: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_IDENTIFIER: Final = re.compile(r"[0-9a-f]{64}")

_EXAMPLE: Final = "`registry.example.com/team/name:tag`"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A complete reference: `registry/repository`, a tag, a digest, or both.

    A digest, where there is one, decides; the tag is then only for the reader.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """`registry/repository`."""
        return f"{self.registry}/{self.repository}"

    @property
    def target(self) -> str:
        """What to ask the registry for: the digest, else the tag."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def parse_reference(text: str) -> Reference:
    """Read a reference and complete it as Docker does; without tag and digest, the tag is `latest`.

    Raises `RegistryError` `reference.invalid`.
    """
    if _IDENTIFIER.fullmatch(text):
        raise _invalid(text, "64 hex digits are an image's ID, not a name")
    head, at, digest = text.partition("@")
    if at and _DIGEST.fullmatch(digest) is None:
        raise _invalid(text, "a digest is `sha256:` and 64 lower-case hex digits")
    host, path = _split_host(head)
    # A colon after the last slash begins the tag: the one of a port is in the host.
    repository, colon, tag = path.partition(":")
    if colon and _TAG.fullmatch(tag) is None:
        raise _invalid(text, "a tag is up to 128 letters, digits, `_`, `.` and `-`")
    _check_name(text, host, repository)
    return Reference(
        registry=host,
        repository=repository,
        tag=tag if colon else None if at else "latest",
        digest=digest if at else None,
    )


def _split_host(name: str) -> tuple[str, str]:
    """Return registry and the rest; the rule that tells a host from a folder is Docker's."""
    first, slash, rest = name.partition("/")
    is_host = first == "localhost" or "." in first or ":" in first or first != first.lower()
    host, path = (first, rest) if slash and is_host else (DOCKER_HUB, name)
    if host == _OLD_HUB:
        host = DOCKER_HUB
    if host == DOCKER_HUB and "/" not in path:
        path = _OFFICIAL + path
    return host, path


def _check_name(text: str, host: str, repository: str) -> None:
    if _HOST.fullmatch(host) is None:
        raise _invalid(text, f"`{host}` is not a host with or without a port")
    port = _PORT.search(host)
    if port is not None and not 0 < int(port[1]) < 65536:
        raise _invalid(text, f"the port in `{host}` is not a number from 1 to 65535")
    if repository != repository.lower():
        raise _invalid(text, "a repository's name is written in lower case")
    if _REPOSITORY.fullmatch(repository) is None:
        raise _invalid(
            text, "a repository's name is lower-case letters and digits, with `.`, `_`, `-` between"
        )
    if len(host) + 1 + len(repository) > _LONGEST_NAME:
        raise _invalid(text, f"a name has at most {_LONGEST_NAME} characters")


def _invalid(text: str, why: str) -> RegistryError:
    shown = text if len(text) <= 100 else f"{text[:100]}..."
    return RegistryError(
        "reference.invalid",
        f"`{shown}` is not an image reference: {why}",
        hint=f"write it like {_EXAMPLE} or `debian:12`",
    )
