"""What a repository shares: the table `[tool.envbuild]` of its `pyproject.toml`."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

from envbuild.errors import Problem, SpecError
from envbuild.kit.files import read_plain
from envbuild.spec.chain import DEFAULTS, Source, locate_problems
from envbuild.spec.formats import (
    ARCHIVE_URL,
    ENVIRONMENT_NAME,
    EXECUTABLE,
    REGISTRY_HOST,
    RELATIVE_PATH,
    REPOSITORY,
    Items,
)
from envbuild.spec.reader import read_table
from envbuild.spec.toml import parse_toml

__all__ = ["RegistrySettings", "Settings", "load_settings", "parse_settings"]

_TABLE: Final = ("tool", "envbuild")


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistrySettings:
    """How to talk to one registry."""

    ca: Annotated[
        str | None, RELATIVE_PATH, "File with its certificate authority, below the repository."
    ] = None
    plain_http: Annotated[
        bool | None, "Whether it speaks HTTP without TLS; default: only on this machine."
    ] = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Settings that all environments of a repository share."""

    repository: Annotated[
        str | None,
        REPOSITORY,
        "Where images are pushed, for environments that do not say; the variable "
        "`ENVBUILD_REPOSITORY` has precedence.",
    ] = None
    default_environment: Annotated[
        str | None, ENVIRONMENT_NAME, "Environment that is meant where one is, and none is named."
    ] = None
    mirrors: Annotated[
        Mapping[Annotated[str, ARCHIVE_URL], tuple[str, ...]],
        ARCHIVE_URL,
        "Where to fetch from in place of URLs that begin so, in this order, for conda channels; "
        "the variable `ENVBUILD_MIRRORS` (a JSON object) has precedence.",
    ] = field(default_factory=dict)
    debian_archives: Annotated[
        tuple[str, ...],
        ARCHIVE_URL,
        Items(unique=True),
        "Roots of Debian archives; default: those that this machine's apt uses.",
    ] = ()
    registries: Annotated[
        Mapping[Annotated[str, REGISTRY_HOST], RegistrySettings],
        "How to talk to a registry, by its host and port.",
    ] = field(default_factory=dict)
    conda: Annotated[
        str | None,
        EXECUTABLE,
        "A conda, mamba or micromamba to solve with, in place of envbuild's own.",
    ] = None
    compression: Annotated[
        Literal["gzip", "zstd"],
        "How layers are compressed; Docker Engine takes zstd from version 23 on.",
    ] = "gzip"
    media_types: Annotated[
        Literal["oci", "docker"],
        "Media types of manifests: `docker` is for old registries, and has no zstd.",
    ] = "oci"
    layer_index: Annotated[
        bool,
        "Whether layers are looked for, and listed, in the registry: repository `envbuild-layers`.",
    ] = True
    verify_layers: Annotated[
        bool,
        "Whether a layer that somebody else made is fetched and proven before it is used.",
    ] = False


def load_settings(root: Path) -> Settings:
    """Load the settings of the repository at `root`; without a file or table, the defaults.

    Raises `SpecError`: `settings.unreadable`, and those of `parse_settings`.
    """
    try:
        data = read_plain(root / "pyproject.toml")
    except (FileNotFoundError, NotADirectoryError):
        data = b""
    except OSError as error:
        message = f"`pyproject.toml` can't be read: {error.strerror}"
        hint = "see what it is and whose it is with `ls -ld pyproject.toml`"
        raise SpecError("settings.unreadable", message, hint=hint) from None
    settings = parse_settings(data, where="pyproject.toml")
    placed = {host: _place(own, root) for host, own in settings.registries.items()}
    return _override(dataclasses.replace(settings, registries=placed), os.environ)


def _place(own: RegistrySettings, root: Path) -> RegistrySettings:
    """Make the path of a certificate absolute: it is meant from the repository's root."""
    return dataclasses.replace(own, ca=str(root / own.ca)) if own.ca else own


def parse_settings(data: bytes, *, where: str) -> Settings:
    """Return the settings that the bytes of a `pyproject.toml` hold.

    Raises `SpecError`: `settings.encoding`, `settings.syntax`, and `settings.invalid` with all
    problems of the table in `problems`.
    """
    if b"envbuild" not in data:  # nothing for us in it, not even a table's name
        return Settings()
    text, table = parse_toml(data, where=where, room="settings")
    tool = table.get("tool")
    own = tool.get("envbuild") if isinstance(tool, dict) else None
    if own is None:
        return Settings()
    defaults = own.pop(DEFAULTS[-1], {}) if isinstance(own, dict) else {}  # a part of specs
    settings, problems = read_table(Settings, own, at=_TABLE)
    if not isinstance(defaults, dict):
        settings, problems = None, [*problems, _NO_TABLE]
    if settings is not None and (settings.compression, settings.media_types) == _IMPOSSIBLE:
        settings, problems = None, [_NO_DOCKER_ZSTD]
    if settings is None:
        source = Source(where=where, text=text, table=table)
        raise _refuse(f"`{where}` has", locate_problems(problems, (source,), table))
    return settings


_IMPOSSIBLE: Final = ("zstd", "docker")
_NO_TABLE: Final = Problem(
    key=".".join(DEFAULTS),
    message="expected a table with what specs have in common, such as `[tool.envbuild.defaults]`",
)
_NO_DOCKER_ZSTD: Final = Problem(
    key="tool.envbuild.media-types",
    message="Docker's media types have none for zstd; leave out this one or `compression`",
)


def _override(settings: Settings, variables: Mapping[str, str]) -> Settings:
    wanted: dict[str, object] = {}
    problems: list[Problem] = []
    if repository := variables.get("ENVBUILD_REPOSITORY"):
        wanted["repository"] = repository
    if mirrors := variables.get("ENVBUILD_MIRRORS"):
        try:
            wanted["mirrors"] = json.loads(mirrors)
        except (ValueError, RecursionError):
            problems.append(Problem(key="mirrors", message=_NO_JSON))
    found, wrong = read_table(Settings, wanted)
    problems += wrong
    if found is None or problems:
        renamed = (dataclasses.replace(p, key=_name_variable(p.key)) for p in problems)
        raise _refuse("the variables of this shell have", tuple(renamed))
    changes = {name: getattr(found, name) for name in wanted}
    return dataclasses.replace(settings, **changes)


_NO_JSON: Final = (
    "expected a JSON object, such as "
    '`{"https://conda.example.com": ["https://mirror.example.com"]}`'
)


def _name_variable(key: str) -> str:
    """Return the dotted `key` with the variable that has precedence over it in front."""
    for name in ("repository", "mirrors"):
        if key.startswith(name):
            return f"ENVBUILD_{name.upper()}{key.removeprefix(name)}"
    return key


def _refuse(subject: str, problems: tuple[Problem, ...]) -> SpecError:
    count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    return SpecError("settings.invalid", f"{subject} {count}", problems=problems)
