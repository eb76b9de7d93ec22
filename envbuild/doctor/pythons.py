"""The Pythons that locks need on this machine: to resolve with pip-tools, to compile byte code."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator

from envbuild.doctor.finding import Finding, Visit, say_names
from envbuild.errors import EnvbuildError
from envbuild.identity.digest import plan_recipe
from envbuild.lock.files import load_lock
from envbuild.lock.model import Lock
from envbuild.spec.formats import parse_python
from envbuild.spec.model import EnvSpec
from envbuild.spec.platforms import find_host_platform

__all__ = ["check_pythons"]


def check_pythons(visit: Visit) -> Iterator[Finding]:
    """Look for the Pythons of all environments; envbuild's own is said first."""
    yield Finding(
        subject="Python",
        message=f"{platform.python_version()}, `{sys.executable}`, runs envbuild",
    )
    yield from _check_resolvers(visit)
    yield from _check_compilers(visit)


def _check_resolvers(visit: Visit) -> Iterator[Finding]:
    from envbuild.lock.pip_tools import find_interpreter

    host = find_host_platform()
    wanted: dict[str, list[str]] = {}
    for name, spec in visit.specs.items():
        here = host is not None and host.subdir in spec.platforms
        if here and spec.pip.resolver == "pip-tools" and spec.pip.dependencies:
            wanted.setdefault(parse_python(spec.python).minor, []).append(name)
    for minor, names in sorted(wanted.items()):
        if find_interpreter(minor) is None:
            yield Finding(
                subject=f"Python {minor}",
                state="warning",
                message=f"is not here, so {say_names(names)} will be resolved by uv in place of "
                "pip-tools",
                hint=f"to install it, run `uv python install {minor}` and put it on PATH; "
                'or set `resolver = "uv"` under `[pip]`',
            )


def _check_compilers(visit: Visit) -> Iterator[Finding]:
    from envbuild.image.interpreter import find_installed

    wanted: dict[str, list[str]] = {}
    for name, spec in visit.specs.items():
        for version in _find_compilers(visit, name, spec):
            wanted.setdefault(version, []).append(name)
    for version, names in sorted(wanted.items()):
        if not find_installed(version, visit.workspace.cache):
            yield Finding(
                subject=f"Python {version}",
                state="problem",
                message=f"is not here, and no other version can compile the byte code of "
                f"{say_names(names)}",
                hint=f"to install it, run `uv python install {version}`; to build without byte "
                "code, set `bytecode = false` under `[image]`",
            )


def _find_compilers(visit: Visit, name: str, spec: EnvSpec) -> set[str]:
    """Return the versions of Python that compile for an environment and aren't locked for here."""
    try:
        folder = visit.workspace.repository.lock_folder(name)
        lock = load_lock(folder, name=name, cache=visit.workspace.cache)
        versions = {plan_recipe(spec, part).bytecode for part in lock.platforms.values()}
    except EnvbuildError:  # the check of the repository says so
        return set()
    return {v for v in versions if v and not _is_locked_here(lock, v)}


def _is_locked_here(lock: Lock, version: str) -> bool:
    host = find_host_platform()
    part = lock.platforms.get(host.subdir) if host is not None else None
    if part is None or part.python != version:
        return False
    names = {"python", f"python{part.python_minor}", f"python{part.python_minor}-minimal"}
    return any(package.name in names for package in part.artifacts)
