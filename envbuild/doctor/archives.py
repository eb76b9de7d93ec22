"""Debian archives: is each suite there that an environment needs, and is its signature good?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from envbuild.doctor.finding import Finding, Visit, describe, say_names
from envbuild.errors import EnvbuildError
from envbuild.kit.urls import strip_credentials
from envbuild.lock.apt_sources import ArchiveSource, find_apt_config
from envbuild.lock.archive import find_archives
from envbuild.lock.release import find_release
from envbuild.spec.derive import find_base, find_suite

__all__ = ["check_archives"]


def check_archives(visit: Visit) -> Iterator[Finding]:
    """Ask each archive for the signed table of contents of each suite, as a lock would."""
    suites: dict[str, list[str]] = {}
    for name, spec in visit.specs.items():
        suite = find_suite(spec)
        if suite and (find_base(spec.image).kind == "debian" or spec.system.packages):
            suites.setdefault(suite, []).append(name)
    for suite, names in sorted(suites.items()):
        try:
            sources = find_archives(visit.settings, suite)
        except EnvbuildError as error:
            yield describe(f"suite `{suite}`", error)
            continue
        found = [finding for source in sources if (finding := _check(visit, source))]
        yield from found
        if not found:
            yield Finding(
                subject=f"suite `{suite}`", state="problem",
                message=f"no archive has it, and {say_names(names)} needs it",
                hint="name one that has it as `debian-archives` under `[tool.envbuild]`",
            )  # fmt: skip


def _check(visit: Visit, source: ArchiveSource) -> Finding | None:
    """Return what an archive says of a suite; None where it needn't have it and hasn't."""
    subject = f"archive `{strip_credentials(source.root)}`"
    if shutil.which("gpgv") is None:
        return Finding(
            subject=subject, state="warning",
            message="was not asked, for without `gpgv` its answer proves nothing",
            hint="to install it, run `apt-get install gpgv`",
        )  # fmt: skip
    folder = visit.workspace.cache.indexes / "releases"
    try:
        release = find_release(source, find_apt_config(), folder=folder, patience=visit.patience)
    except EnvbuildError as error:
        return describe(subject, error)
    if release is None:
        return None
    return Finding(subject=subject, message=f"has `{source.suite}`, well signed")
