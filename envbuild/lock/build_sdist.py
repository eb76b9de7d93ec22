"""Source distributions of an index: which versions have one, and its files on this machine."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

from envbuild.errors import EnvbuildError, LockError
from envbuild.kit.fetch import fetch_file
from envbuild.kit.process import ToolExitError, run_tool
from envbuild.lock.pip_indexes import pip_environment
from envbuild.lock.pip_job import PipJob, write_job
from envbuild.lock.pip_sizes import lend_credentials
from envbuild.lock.pip_uv import find_sdists
from envbuild.lock.wheel_choice import WheelFile, rank_tags

__all__ = ["fetch_sdist", "find_sdist", "list_source_versions", "unpack_sdist"]

_VERSIONS = re.compile(r"^Available versions: (.*)$", re.MULTILINE)


def list_source_versions(job: PipJob, name: str) -> tuple[str, ...]:
    """Return the versions of `name` that have a source distribution and no wheel for the target.

    Pre-releases are left out, and so is what wants another Python.
    """
    sources = _list_versions(job, name, ["--no-binary", name])
    if not sources:
        return ()
    tags = rank_tags(job.platform, job.minor, job.glibc, job.macos)
    platforms = dict.fromkeys(tag.platform for tag in tags if tag.platform != "any")
    target = ["--only-binary", name, "--implementation", "cp"]
    target += [word for platform in platforms for word in ("--platform", platform)]
    wheels = set(_list_versions(job, name, target))
    return tuple(version for version in sources if version not in wheels)


def _list_versions(job: PipJob, name: str, options: list[str]) -> list[str]:
    argv = [sys.executable, "-m", "pip", "index", "versions", name]
    argv += ["--python-version", job.python, *options]
    environment = pip_environment(job.indexes)
    try:
        text = run_tool(
            argv, tool="pip", env=environment, logs=job.logs, secrets=job.indexes.secrets
        )
    except ToolExitError as error:
        if error.returncode < 0:
            raise
        # None of them: whether the index itself is broken, the resolution that follows says.
        error.log.unlink(missing_ok=True)
        return []
    found = _VERSIONS.search(text)
    return [word.strip() for word in found[1].split(",")] if found else []


def find_sdist(job: PipJob, name: str, version: str, *, filename: str = "") -> WheelFile:
    """Return the source distribution of a version, the one called `filename` if that is given.

    Raises `LockError` `pip.source-gone` if the index has none (any more).
    """
    alone = replace(job, work=job.work / f"sdist-{name}-{version}", fixed={}, constraints={})
    write_job(alone)
    found = [
        file
        for file in find_sdists(alone, f"{name}=={version}")
        if file.filename == (filename or file.filename)
    ]
    if not found:
        raise LockError(
            "pip.source-gone",
            f"no package index of this machine has {_say(filename)} of `{name}` {version}",
            hint=f"to lock what the index has now, run `nox -s lock -- {job.task} "
            f"--upgrade-package {name}`",
        )
    return min(found, key=lambda file: (not file.filename.endswith(".tar.gz"), file.filename))


def _say(filename: str) -> str:
    return f"the source distribution `{filename}`" if filename else "a source distribution"


def fetch_sdist(job: PipJob, file: WheelFile, *, packages: Path) -> Path:
    """Return the file in `packages`, hash verified. Raises `LockError` `pip.source-changed`."""
    target = packages / file.sha256 / file.filename
    try:
        return fetch_file(
            [lend_credentials(file.url, job.indexes)],
            sha256=file.sha256, target=target, progress=job.progress, task=job.task,
        )  # fmt: skip
    except EnvbuildError as error:
        if error.code != "fetch.hash-mismatch":
            raise
        raise LockError(
            "pip.source-changed",
            f"what the index has as `{file.filename}` is not what was locked for `{job.task}`: "
            "its SHA-256 differs",
            hint="find out who changed it; to lock what the index has now, run "
            f"`nox -s lock -- {job.task} --upgrade-package {file.name}`",
        ) from error


def unpack_sdist(archive: Path, folder: Path) -> Path:
    """Unpack into the empty `folder` and return the project's folder in it.

    Raises `LockError` `pip.bad-source` for an archive that is damaged or leads out of the folder.
    """
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(folder)  # noqa: S202 - zipfile drops `..` and roots itself
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
        inside = list(folder.iterdir())
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise LockError(
            "pip.bad-source",
            f"the source distribution `{archive.name}` can't be unpacked: {error}",
            hint="tell whoever publishes it, or take another version",
        ) from error
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder
