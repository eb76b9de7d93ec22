"""The programs that envbuild calls: are they here, and which versions?"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from envbuild.doctor.finding import Finding, Visit, describe, say_names
from envbuild.errors import EngineError
from envbuild.spec.derive import find_base, find_suite
from envbuild.spec.model import EnvSpec

__all__ = ["check_tools"]

_SECONDS: Final = 15

_PACKAGES: Final = ("nox", "conda-lock", "pip-tools", "pip", "uv", "py-rattler")
"""Python packages whose programs or libraries do the work, all of them dependencies of envbuild."""


def check_tools(visit: Visit) -> Iterator[Finding]:
    """Look for programs of the system, and for the packages that envbuild comes with."""
    yield from map(_check_package, _PACKAGES)
    debian = visit.find(_has_debian)
    git = visit.find(lambda spec: any("git+" in text for text in spec.pip.dependencies))
    built = visit.find(lambda spec: spec.pip.build_from_source or spec.pip.local)
    dockerfiles = visit.find(lambda spec: spec.image.dockerfile is not None)
    yield _check_program("git", "git", needed=git, why="without it, no run says its commit")
    yield _check_program("gpgv", "gpgv", needed=debian, why="Debian packages can't be locked")
    if built:
        yield _check_program("unshare", "util-linux", needed=[], why="builds have the network")
    if dockerfiles:
        yield _check_builder()
    if (wanted := visit.settings.conda) is not None:
        yield _check_program(
            wanted, wanted, needed=visit.find(lambda spec: spec.conda), why="conda can't be locked",
            hint="leave out `conda` under `[tool.envbuild]`: envbuild solves without one",
        )  # fmt: skip


def _check_builder() -> Finding:
    from envbuild.engine.builder import find_builder

    try:
        found = " ".join(find_builder().command)
    except EngineError as error:
        return describe("BuildKit", error)
    return Finding(subject="BuildKit", message=f"Dockerfiles are built by `{found}`")


def _has_debian(spec: EnvSpec) -> bool:
    return find_suite(spec) is not None and (
        find_base(spec.image).kind == "debian" or bool(spec.system.packages)
    )


def _check_package(name: str) -> Finding:
    try:
        return Finding(subject=name, message=version(name))
    except PackageNotFoundError:
        return Finding(
            subject=name,
            state="problem",
            message=f"the package `{name}`, which envbuild needs, is not installed",
            hint="install envbuild anew: `python -m pip install --force-reinstall envbuild`",
        )


def _check_program(
    program: str, package: str, *, needed: list[str], why: str, hint: str | None = None
) -> Finding:
    """Say what a program is; one that is missing is a problem where an environment needs it."""
    place = shutil.which(program)
    if place is None:
        return Finding(
            subject=program,
            state="problem" if needed else "warning",
            message=f"`{program}` is not on this machine: {why}"
            + (f" (needed by {say_names(needed)})" if needed else ""),
            hint=hint or f"to install it, run `apt-get install {package}`",
        )
    return Finding(subject=program, message=_ask_version(place) or place)


def _ask_version(place: str) -> str:
    """Return the first line that a program says of its version; "" where it says nothing."""
    try:
        done = subprocess.run(
            [place, "--version"], capture_output=True, text=True, timeout=_SECONDS,
            errors="replace", stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout or done.stderr).strip().partition("\n")[0] if not done.returncode else ""
