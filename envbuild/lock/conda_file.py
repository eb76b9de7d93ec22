"""The files on both sides of conda-lock: what it is asked (two YAML files), what it answers (one).

Formats: conda's environment.yml, conda-lock's virtual-packages.yml, and its lockfile version 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from envbuild.errors import LockError
from envbuild.spec.formats import parse_python
from envbuild.spec.model import Conda, EnvSpec, VirtualPackages
from envbuild.spec.platforms import Platform

__all__ = [
    "DEFAULT_GLIBC",
    "CondaEntry",
    "check_match_specs",
    "check_no_secret",
    "load_yaml",
    "parse_conda_lock",
    "plan_virtual_packages",
    "render_environment",
    "render_virtual_packages",
    "replace_header",
]

DEFAULT_GLIBC: Final = "2.28"
"""What conda-lock assumes, and conda-forge builds for: RHEL 8, Debian 10, manylinux_2_28."""
_DEFAULT_LINUX: Final = "5.10"
"""What conda-lock assumes: the oldest kernel of a Debian release that still gets updates (11)."""
_DEFAULT_OSX: Final = "11.0"
"""What conda-lock assumes: the first macOS that runs on both architectures."""

_HEADER: Final = """\
# This file is kept by envbuild; `nox -s lock` remakes it, and an edit by hand is refused.
#
# It is a lockfile of conda-lock, version 1, and works without envbuild too:
#     conda-lock install --name YOURENV conda-lock.yml
#     micromamba create --name YOURENV --file conda-lock.yml
"""
_FIELD: Final = re.compile(r"[\[,]\s*([a-z_0-9]+)\s*=")
_KNOWN_FIELDS: Final = frozenset({"version", "build", "build_string", "channel"})
_CREDENTIALS: Final = re.compile(r"://[^/@\s]*@|/t/[^/\s]+(?=/)")


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaEntry:
    """A package as `conda-lock.yml` has it: all of a `CondaPackage` but the archive's size."""

    name: str
    version: str
    build: str
    url: str
    sha256: str

    @property
    def filename(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def check_match_specs(texts: Iterable[str]) -> None:
    """Refuse what conda-lock would drop without a word.

    Raises `LockError` `lock.match-spec` for a field in brackets that it doesn't hand on.
    """
    for spec in texts:
        for field in _FIELD.findall(re.sub(r"'[^']*'|\"[^\"]*\"", "''", spec)):
            if field not in _KNOWN_FIELDS:
                raise LockError(
                    "lock.match-spec",
                    f"conda-lock takes no account of `{field}` in the match spec `{spec}`",
                    hint=f"leave `{field}` out; version, build and channel are what it locks by",
                )


def plan_virtual_packages(wanted: VirtualPackages, platform: Platform) -> dict[str, str]:
    """Return the virtual packages of a target: name to version, or to version and build.

    What the spec doesn't say is what conda-lock assumes, but for `__cuda`: it is only there when
    asked for, so that nobody gets a GPU's libraries by accident.
    """
    machine = {"AMD64": "x86_64"}.get(platform.machine, platform.machine)
    planned = {"__archspec": f"1 {wanted.archspec or machine}"}
    if platform.os == "windows":
        planned["__win"] = "0"
    else:
        planned["__unix"] = "0"
    if platform.os == "linux":
        planned["__linux"] = wanted.linux or _DEFAULT_LINUX
        planned["__glibc"] = wanted.glibc or DEFAULT_GLIBC
    if platform.os == "darwin":
        planned["__osx"] = wanted.osx or _DEFAULT_OSX
    elif wanted.cuda:
        planned["__cuda"] = wanted.cuda
    return dict(sorted(planned.items()))


def render_virtual_packages(planned: Mapping[str, Mapping[str, str]]) -> str:
    """Return virtual-packages.yml: `planned` maps a platform to its virtual packages."""
    import yaml

    subdirs = {subdir: {"packages": dict(planned[subdir])} for subdir in sorted(planned)}
    return yaml.safe_dump({"subdirs": subdirs}, sort_keys=False)


def render_environment(spec: EnvSpec) -> str:
    """Return environment.yml of a spec that has `[conda]`: channels, platforms, dependencies."""
    import yaml

    conda = spec.conda or Conda()
    content = {
        "channels": list(conda.channels),
        "platforms": sorted(spec.platforms),
        "dependencies": [f"python {parse_python(spec.python).conda}", *sorted(conda.dependencies)],
    }
    # One line for each text: conda-lock reads platform selectors line by line.
    text = yaml.safe_dump(content, sort_keys=False, width=float("inf"), allow_unicode=True)
    return text + "".join(_render_extra(spec))


_SELECTORS: Final = {
    "linux-64": "linux64", "linux-aarch64": "aarch64", "linux-ppc64le": "ppc64le",
    "osx-64": "osx64", "osx-arm64": "arm64", "win-64": "win64",
}  # fmt: skip


def _render_extra(spec: EnvSpec) -> Iterator[str]:
    """Give the lines, below the last list, of what only one platform gets."""
    import yaml

    for platform in sorted(spec.platform):
        for text in sorted(spec.platform[platform].conda.dependencies):
            line = yaml.safe_dump([text], width=float("inf"), allow_unicode=True).rstrip()
            yield f"{line}  # [{_SELECTORS[platform]}]\n"


def replace_header(text: str) -> str:
    """Return the lockfile with our words on top, in place of advice that doesn't apply here."""
    start = re.search(r"^(?![#\s])", text, re.MULTILINE)
    return _HEADER + text[start.start() if start else 0 :]


def parse_conda_lock(data: bytes) -> dict[str, tuple[CondaEntry, ...]]:
    """Return the packages of a `conda-lock.yml`, by platform, each sorted by name.

    Raises `LockError`: `lock.conda-file` if it isn't one, `lock.no-sha256` for a package without.
    """
    try:
        content = load_yaml(data)
        if content["version"] != 1:
            raise _refuse(f"is of version `{content['version']}`, not 1")
        found: dict[str, list[CondaEntry]] = {
            platform: [] for platform in content["metadata"]["platforms"]
        }
        for entry in content["package"]:
            if entry["manager"] == "conda":
                found[entry["platform"]].append(_parse_package(entry))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _refuse("is no lockfile of conda-lock") from error
    return {p: tuple(sorted(found[p], key=lambda package: package.name)) for p in sorted(found)}


def _refuse(what: str) -> LockError:
    return LockError(
        "lock.conda-file",
        f"`conda-lock.yml` {what}",
        hint="to make it again, run `nox -s lock`",
    )


def load_yaml(data: bytes) -> Any:
    """Return what a conda lockfile holds, read as quickly as this machine can."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(data, Loader=loader)  # noqa: S506 - both loaders are safe ones
    except yaml.YAMLError as error:
        raise _refuse("is not YAML") from error


def _parse_package(entry: Mapping[str, Any]) -> CondaEntry:
    name, version, url = str(entry["name"]), str(entry["version"]), str(entry["url"])
    file = url.rsplit("/", 1)[-1]
    stem = file.removesuffix(".conda").removesuffix(".tar.bz2")
    build = stem.removeprefix(f"{name}-{version}-")
    if file == stem or build == stem:
        raise _refuse(f"has `{file}` for the package `{name}` {version}")
    sha256 = entry["hash"].get("sha256")
    if not sha256:
        raise LockError(
            "lock.no-sha256",
            f"the conda channel has no SHA-256 for `{file}`",
            hint="leave out `conda` in `[tool.envbuild]`: envbuild's own solver hashes the "
            "archive itself; or ask whoever runs the channel to index it with hashes",
        )
    return CondaEntry(name=name, version=version, build=build, url=url, sha256=str(sha256))


def check_no_secret(text: str, channels: Iterable[str]) -> None:
    """Refuse a lockfile with credentials in a URL that aren't those the spec itself writes.

    The spec's are references (`${VAR}`). Raises `LockError` `lock.secret`.
    """
    written = {part for channel in channels for part in _CREDENTIALS.findall(f"{channel}/")}
    for line in text.splitlines():
        if not line.startswith("#") and set(_CREDENTIALS.findall(line)) - written:
            raise LockError(
                "lock.secret",
                "a credential would be written into `conda-lock.yml`",
                hint="write the channel's URL with a reference, such as "
                "`https://${TOKEN}@pkgs.example.com/channel`, into `conda.channels`",
            )
