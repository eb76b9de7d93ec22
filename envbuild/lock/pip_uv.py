"""Asks uv: which versions for a target machine, and which files an index has of them."""

from __future__ import annotations

import functools
import json
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from envbuild.errors import LockError
from envbuild.kit.process import ToolExitError, run_tool
from envbuild.lock.names import normalise_name
from envbuild.lock.pip_indexes import uv_environment
from envbuild.lock.pip_job import PipJob, is_marked
from envbuild.lock.pip_pins import Pin, parse_pins
from envbuild.lock.wheel_choice import WheelFile, parse_glibc

if TYPE_CHECKING:
    from packaging.version import Version

__all__ = [
    "Listing",
    "find_all_files",
    "find_python",
    "find_reasons",
    "find_sdists",
    "list_pinned",
    "resolve_with_uv",
]

_guard: Final = threading.Lock()

_KNOWN_GLIBC: Final = (17, 28, *range(31, 41))
"""Minor versions of glibc 2 that uv has a platform for (`uv pip compile --help`)."""
_OLDER_PYTHONS: Final = ("3.8", "3.9", "3.10")


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """What uv resolved: name and version of each package, and the wheels the target could use.

    What conda brings is left out of both; what has a marked version has no files here.
    """

    versions: Mapping[str, str]
    files: tuple[WheelFile, ...]


def resolve_with_uv(job: PipJob, ceilings: Mapping[str, Version] | None = None) -> Listing:
    """Resolve the job's request for its target, staying with `job.kept` where uv can.

    Of `ceilings` it only takes that those packages have no higher version.

    Raises `ToolExitError` if uv finds no answer.
    """
    limited = ceilings or {}
    target = job.work / "pylock.toml"
    target.unlink(missing_ok=True)
    if kept := [pin for pin in job.kept if pin.name not in limited]:
        target.write_text(_render_seed(kept), encoding="utf-8")
    arguments = ["--upgrade"] if job.upgrade.everything else []
    for name in sorted(job.upgrade.packages):
        arguments += ["--upgrade-package", name]
    if limited:
        limits = job.work / "ceilings.txt"
        lines = [f"{name}<={version.public}\n" for name, version in sorted(limited.items())]
        limits.write_text("".join(lines), encoding="utf-8")
        arguments += ["--constraints", limits.name]
    return _list(job, target, arguments)


def list_pinned(job: PipJob, versions: Mapping[str, str]) -> Listing:
    """Resolve the request once more with `versions` fixed, whoever chose them.

    So the packages of the answer are those that the target needs, and maybe not those given.

    Raises `ToolExitError` if `versions` don't answer the request on the target.
    """
    return _list(job, job.work / "pylock.pinned.toml", _pin(job, versions))


def find_reasons(job: PipJob, versions: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    """Return for each package of a resolution which others need it, or `-r FILE` for the request.

    Resolvers name reasons of versions that they tried and left, too. With all versions fixed,
    there is one answer, the same whether a lock is made anew or kept.
    """
    target = job.work / "reasons.txt"
    argv = [*_compile(job), *_narrow(job), *_pin(job, versions), "--no-header", "-o", str(target)]
    argv += [*_bound(job), job.request.name]
    try:
        # All that this needs has just been fetched, and asking again would take a second.
        _run_uv([*argv, "--offline"], job)
    except ToolExitError as error:
        if error.returncode < 0:
            raise
        error.log.unlink(missing_ok=True)
        _run_uv(argv, job)
    return {pin.name: pin.via for pin in parse_pins(target.read_text(encoding="utf-8"))}


def _list(job: PipJob, target: Path, arguments: list[str]) -> Listing:
    argv = [*_compile(job), *_narrow(job), *arguments, "--format", "pylock.toml"]
    argv += ["-o", str(target), *_bound(job), job.request.name]
    _run_uv(argv, job)
    packages = [p for p in _read_pylock(target) if normalise_name(p["name"]) not in job.brought]
    public = [p for p in packages if not is_marked(str(p["version"]))]
    return Listing(
        versions={normalise_name(p["name"]): str(p["version"]) for p in packages},
        files=tuple(_read_files(public, "wheels", job.work)),
    )


def _bound(job: PipJob) -> list[str]:
    overrides = ["--overrides", job.replaced.name] if job.overrides else []
    return ["--constraints", job.conda.name, *overrides]


def _pin(job: PipJob, versions: Mapping[str, str]) -> list[str]:
    fixed = job.work / "pins.txt"
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    fixed.write_text("".join(lines), encoding="utf-8")
    return ["--constraints", fixed.name, "--prerelease", "allow"]


def _render_seed(pins: Iterable[Pin]) -> str:
    """Return the pins to stay with as uv looks for them: in the file that it is to write."""
    head = 'lock-version = "1.0"\ncreated-by = "envbuild"\n'
    packages = (
        f"[[packages]]\nname = {json.dumps(pin.name)}\nversion = {json.dumps(pin.version)}\n"
        for pin in pins
    )
    return head + "".join(packages)


def find_all_files(job: PipJob, requirement: str) -> tuple[str, ...]:
    """Return the names of the files that an index has of one version, for any machine.

    Those for Pythons that were old long ago may be missing; empty if there is no such version.
    """
    # uv shows no file that is older than the Python asked for, and no release that has left it.
    for python in dict.fromkeys((*_OLDER_PYTHONS, job.minor)):
        try:
            return _list_all_files(job, requirement, python)
        except ToolExitError as error:
            if error.returncode < 0:
                raise
            error.log.unlink(missing_ok=True)
    return ()


def find_python(job: PipJob, requirement: str) -> str:
    """Return which Pythons `NAME==VERSION` says it needs; empty if the job's is one of them."""
    try:
        _ask_one(job, requirement, job.minor)
    except ToolExitError as error:
        if error.returncode < 0:
            raise
        error.log.unlink(missing_ok=True)
        said = " ".join(error.output.split())
        found = re.search(rf"{re.escape(requirement)} depends on Python(\S+?),? ", said)
        return found[1] if found else ""
    return ""


def find_sdists(job: PipJob, requirement: str) -> tuple[WheelFile, ...]:
    """Return the source distributions that an index has of `NAME==VERSION`.

    `job` must have no stub of that name. Empty if there is none, or no such version.
    """
    try:
        packages = _ask_one(job, requirement, job.minor)
    except ToolExitError as error:
        if error.returncode < 0:
            raise
        error.log.unlink(missing_ok=True)
        return ()
    return tuple(_read_files(packages, "sdist", job.work))


def _list_all_files(job: PipJob, requirement: str, python: str) -> tuple[str, ...]:
    packages = _ask_one(job, requirement, python)
    files = [file for kind in ("wheels", "sdist") for file in _read_files(packages, kind, job.work)]
    return tuple(sorted(file.filename for file in files))


def _ask_one(job: PipJob, requirement: str, python: str) -> list[dict[str, Any]]:
    """Return one version's entry of a lock as PEP 751 has it, with its files for any machine."""
    source = job.work / "one.in"
    source.write_text(f"{requirement}\n", encoding="utf-8")
    target = job.work / "pylock.one.toml"
    target.unlink(missing_ok=True)
    argv = [*_compile(job, python), "--universal", "--no-deps", "--prerelease", "allow"]
    _run_uv([*argv, "--format", "pylock.toml", "-o", str(target), source.name], job)
    return _read_pylock(target)


def _run_uv(argv: list[str], job: PipJob) -> None:
    """Run uv in the job's folder with the job's indexes."""
    environment = uv_environment(job.indexes)
    links = environment.get("UV_FIND_LINKS")
    stubs = job.stubs.absolute().as_uri().replace(",", "%2C")
    environment["UV_FIND_LINKS"] = f"{stubs},{links}" if links else stubs
    if job.before:
        environment["UV_EXCLUDE_NEWER"] = job.before
    if job.platform.os == "darwin":
        environment["MACOSX_DEPLOYMENT_TARGET"] = job.macos
    run_tool(
        argv, tool="uv", env=environment, cwd=job.work, logs=job.logs, secrets=job.indexes.secrets
    )


@functools.cache
def _find_uv() -> str:
    """Return uv's program. Platforms ask at once, and sysconfig, which uv asks, is not ready then.

    CPython 3.11 and older fill `sysconfig`'s table while others read it.
    """
    import uv

    with _guard:
        return str(uv.find_uv_bin())


def _compile(job: PipJob, python: str = "") -> list[str]:
    argv = [_find_uv(), "pip", "compile", "--quiet", "--python", sys.executable]
    argv += ["--python-version", python or job.python]
    return [*argv, "--no-index"] if job.indexes.no_index else argv


def _narrow(job: PipJob) -> list[str]:
    """Return the arguments that fix the target and leave source distributions alone."""
    return ["--python-platform", _name_target(job), "--only-binary", ":all:"]


def _name_target(job: PipJob) -> str:
    """Return uv's name of the target; of the glibc versions it knows, the newest that fits."""
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(job.platform.machine)
    machine = machine or job.platform.machine
    if job.platform.os == "windows":
        return f"{machine}-pc-windows-msvc"
    if job.platform.os == "darwin":
        return f"{machine}-apple-darwin"
    wanted = parse_glibc(job.glibc)
    fitting = [minor for minor in _KNOWN_GLIBC if minor <= wanted]
    return f"{machine}-manylinux_2_{max(fitting, default=_KNOWN_GLIBC[0])}"


def _read_pylock(path: Path) -> list[dict[str, Any]]:
    """Return the packages of a lock as PEP 751 has them."""
    import tomli

    packages: list[dict[str, Any]] = tomli.loads(path.read_text(encoding="utf-8")).get(
        "packages", []
    )
    return packages


def _read_files(
    packages: Iterable[Mapping[str, Any]], kind: str, folder: Path
) -> Iterator[WheelFile]:
    """Yield the packages' files; `kind` is `wheels` or `sdist`."""
    for package in packages:
        entries = package.get(kind, [])
        for entry in entries if isinstance(entries, list) else [entries]:
            yield _read_entry(package, entry, folder)


def _read_entry(package: Mapping[str, Any], entry: Mapping[str, Any], folder: Path) -> WheelFile:
    url = entry.get("url") or (folder / str(entry["path"])).absolute().as_uri()
    filename = str(entry.get("name") or unquote(urlsplit(str(url)).path.rsplit("/", 1)[-1]))
    sha256 = entry.get("hashes", {}).get("sha256")
    if not sha256:
        raise LockError(
            "lock.no-hash",
            f"the index gives no SHA-256 for `{filename}`, so it can't be locked",
            hint="name an index that does (PEP 503, PEP 691) in `pip.index-url`",
        )
    return WheelFile(
        name=normalise_name(str(package["name"])),
        version=str(package["version"]),
        filename=filename,
        url=str(url),
        sha256=str(sha256),
        size=int(entry.get("size") or 0),
    )
