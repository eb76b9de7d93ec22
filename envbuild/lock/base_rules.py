"""Holds an environment against what its base offers, before anything is built or even resolved."""

from __future__ import annotations

import re
from typing import Final

from envbuild.errors import LockError
from envbuild.lock.conda_file import DEFAULT_GLIBC
from envbuild.lock.model import BaseFacts, Lock, PlatformLock, Wheel
from envbuild.spec.derive import say_base
from envbuild.spec.formats import parse_python
from envbuild.spec.model import EnvSpec

__all__ = ["check_base", "check_bases", "find_base_glibc", "is_python_known"]

_MANYLINUX: Final = re.compile(r"manylinux_2_(\d+)_|manylinux(1|2010|2014)_")
_LEGACY: Final = {"1": 5, "2010": 12, "2014": 17}
"""glibc 2.N that the names of before PEP 600 stand for."""
_SHELLS: Final = frozenset({"sh", "ash", "bash", "busybox", "dash", "ksh", "zsh"})
"""Programs that bases have, and that somebody may name in place of a Python."""


def check_bases(spec: EnvSpec, lock: Lock) -> None:
    """Do `check_base` for every platform of a lock."""
    for part in lock.platforms.values():
        check_base(spec, part)


def check_base(spec: EnvSpec, part: PlatformLock) -> None:
    """Refuse an environment that can't run on its base, as far as that is known.

    `part` may be locked in part only. Raises `LockError`: `base.interpreter`, `base.musl`,
    `base.glibc`, `base.no-shell`.
    """
    if part.base is not None:
        _check_interpreter(spec, part, part.base.facts)
        _check_musl(spec, part, part.base.facts)
        _check_shell(spec, part, part.base.facts)
    _check_glibc(spec, part)


def is_python_known(spec: EnvSpec, part: PlatformLock) -> bool:
    """Return whether the lock says all that the base offers for `image.interpreter` of `spec`.

    False where the spec now names one that nobody looked for when the base was read, or one of
    another version than the lock was made for.
    """
    path = spec.image.interpreter
    if path is None or part.base is None or _brings_python(part):
        return True
    version = part.base.facts.find_python(path)
    return version is not None and (version.count(".") < 2 or version == part.python)


def find_base_glibc(part: PlatformLock) -> str:
    """Return `MAJOR.MINOR` of the base's glibc: the registry image's or Debian's own, or ""."""
    if part.base is not None:
        return part.base.facts.libc_version if part.base.facts.libc == "glibc" else ""
    for package in part.debian:
        if package.name == "libc6":
            return ".".join(package.version.partition("-")[0].split(".")[:2])
    return ""


def _brings_python(part: PlatformLock) -> bool:
    """Return whether packages bring Python: conda's, or Debian's on top of a base image."""
    return any(p.name == "python" for p in part.conda) or any(
        p.name == f"python{part.python_minor}-minimal" for p in part.debian
    )


def _check_interpreter(spec: EnvSpec, part: PlatformLock, facts: BaseFacts) -> None:
    path = spec.image.interpreter
    if path is None or _brings_python(part):
        return
    base, wanted = say_base(spec.image), parse_python(spec.python).minor
    version = facts.find_python(path)
    fitting = [p for p, has in facts.pythons if has.split(".")[:2] == wanted.split(".")]
    there = [p if not has else f"{p} ({has})" for p, has in facts.pythons]
    if version is None:
        raise LockError(
            "base.interpreter",
            f"`{base}` has no program `{path}` for `{part.platform}`; "
            + (f"its Pythons are {_join(there)}" if there else "it has no Python at all"),
            hint=f'write `interpreter = "{fitting[0]}"` under `[image]`'
            if fitting
            else f"choose a base with Python {wanted}, or add a table `[conda]`, which brings one",
        )
    if not version and path.rpartition("/")[2] in _SHELLS:
        raise LockError(
            "base.interpreter",
            f"`{path}` of `{base}` is a shell, not a Python, for `{part.platform}`",
            hint=f'write `interpreter = "{fitting[0]}"` under `[image]`'
            if fitting
            else f"choose a base with Python {wanted}, or add a table `[conda]`, which brings one",
        )
    if version and version.split(".")[:2] != wanted.split("."):
        raise LockError(
            "base.interpreter",
            f"`{path}` of `{base}` is Python {version} for `{part.platform}`, and the spec asks "
            f"for `{spec.python}`",
            hint=f'write `interpreter = "{fitting[0]}"` under `[image]`'
            if fitting
            else f'write `python = "{".".join(version.split(".")[:2])}.*"`, or choose another base',
        )


def _check_musl(spec: EnvSpec, part: PlatformLock, facts: BaseFacts) -> None:
    if facts.libc != "musl":
        return
    needing = _find_first_binary(part)
    if needing:
        raise LockError(
            "base.musl",
            f"`{say_base(spec.image)}` has musl for a C library, and {needing} needs glibc",
            hint="choose a base with glibc, such as `debian:bookworm` or an image's `-slim` "
            "variant in place of `-alpine`",
        )


def _find_first_binary(part: PlatformLock) -> str:
    """Return something of the environment that runs on one C library only, for a message."""
    if part.conda:
        return "what conda brings"
    return next((f"`{w.filename}`" for w in part.wheels if not w.filename.endswith("-any.whl")), "")


def _check_glibc(spec: EnvSpec, part: PlatformLock) -> None:
    glibc = find_base_glibc(part)
    if not glibc:
        return
    has, base = _key(glibc), say_base(spec.image)
    if part.conda:
        named = spec.conda.virtual_packages.glibc if spec.conda else None
        chosen = named or DEFAULT_GLIBC
        if _key(chosen) > has:
            raise LockError(
                "base.glibc",
                f"`{base}` has glibc {glibc} for `{part.platform}`, and conda's packages are "
                f"chosen for {chosen}" + ("" if named else ", which is the default"),
                hint=f'write `glibc = "{glibc}"` under `[conda.virtual-packages]`, or choose a '
                "newer base",
            )
    for wheel in part.wheels:
        needs = _find_need(wheel)
        if needs > has:
            raise LockError(
                "base.glibc",
                f"`{base}` has glibc {glibc} for `{part.platform}`, and `{wheel.filename}` needs "
                f"{'.'.join(map(str, needs))}",
                hint="choose a newer base; or lock again with `--upgrade`, which chooses wheels "
                "for this one",
            )


def _find_need(wheel: Wheel) -> tuple[int, int]:
    """Return the least glibc that a wheel's file name asks for (PEP 600); (0, 0) for none."""
    tags = wheel.filename.removesuffix(".whl").rpartition("-")[2]
    found = [int(n) if n else _LEGACY[old] for n, old in _MANYLINUX.findall(tags)]
    return (2, min(found)) if found else (0, 0)


def _check_shell(spec: EnvSpec, part: PlatformLock, facts: BaseFacts) -> None:
    """Only conda's link scripts need a shell; training and serving start without one."""
    if part.conda and spec.conda and spec.conda.link_scripts == "run" and not facts.shell:
        raise LockError(
            "base.no-shell",
            f"`{say_base(spec.image)}` has no `/bin/sh` for `{part.platform}`, and "
            '`link-scripts = "run"` runs scripts in it',
            hint='choose a base with a shell, or write `link-scripts = "refuse"` under `[conda]`',
        )


def _key(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    digits = re.match(r"\d+", minor)
    return int(major), int(digits[0]) if digits else 0


def _join(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
