"""Finds a `docker` command that can build with BuildKit.

Up to version 22 the command has BuildKit built in and wants `DOCKER_BUILDKIT=1`; from 23 on it is
the plugin `buildx`, which distributions package by itself and often don't install.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envbuild.errors import EngineError

__all__ = ["Builder", "find_builder"]

_OLDEST: Final = (18, 9)
_PLUGIN_ONLY: Final = (23, 0)
_ANSWER_SECONDS: Final = 30
_USUAL: Final = ("/usr/bin", "/usr/local/bin")


@dataclass(frozen=True, kw_only=True, slots=True)
class Builder:
    """A command that builds: its first words, and what it wants in its environment."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def find_builder() -> Builder:
    """Return the first `docker` of `PATH`, and of the usual folders, that can use BuildKit.

    Raises `EngineError` `engine.no-buildkit`, which names those that can't.
    """
    found: list[str] = []
    for program in _list_programs():
        version = _ask_version(program)
        if version is None:
            continue
        if _answers([program, "buildx", "version"]):
            # What newer ones say of a build beside the image is another manifest in the archive.
            quiet = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
            return Builder(command=(program, "buildx", "build", "--load"), environment=quiet)
        if _OLDEST <= version < _PLUGIN_ONLY:
            return Builder(command=(program, "build"), environment={"DOCKER_BUILDKIT": "1"})
        found.append(f"`{program}` is version {version[0]}.{version[1]} without the plugin buildx")
    said = "; ".join(found) or "there is no `docker` command"
    raise EngineError(
        "engine.no-buildkit",
        f"nothing on this machine can build a Dockerfile with BuildKit: {said}",
        hint="install the plugin, `docker-buildx` or `docker-buildx-plugin` by the name of its "
        "package, or Debian's `docker.io` up to version 22",
    )


def _list_programs() -> Iterator[str]:
    folders = [f for f in os.environ.get("PATH", os.defpath).split(os.pathsep) if f]
    for folder in dict.fromkeys((*folders, *_USUAL)):
        program = Path(folder) / "docker"
        if program.is_file() and os.access(program, os.X_OK):
            yield str(program)


def _ask_version(program: str) -> tuple[int, int] | None:
    """Return the version of a docker command; None if it is none (podman's has the same name)."""
    said = _run([program, "--version"])
    found = re.match(r"Docker version (\d+)\.(\d+)", said or "")
    return (int(found[1]), int(found[2])) if found else None


def _answers(command: list[str]) -> bool:
    return _run(command) is not None


def _run(command: list[str]) -> str | None:
    """Return what a command says; None if it fails."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ANSWER_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")
