"""Asks pip-compile for the versions, under the Python that is locked, on this machine itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from envbuild.kit.process import run_tool
from envbuild.lock.pip_indexes import pip_environment
from envbuild.lock.pip_job import PipJob
from envbuild.lock.pip_pins import parse_pins
from envbuild.lock.wheel_choice import parse_glibc
from envbuild.spec.platforms import find_host_platform

__all__ = ["Interpreter", "find_interpreter", "resolve_with_pip_tools", "why_not_pip_tools"]

_PROBE: Final = "import sys, piptools.scripts.compile; print('%d.%d' % sys.version_info[:2])"

# pip makes objects by the million that live to the end: to look through them for garbage again and
# again takes a seventh of its time.
_START: Final = """\
import gc, runpy
gc.set_threshold(1_000_000)
runpy.run_module("piptools", run_name="__main__", alter_sys=True)
"""

# PEP 600: an installer asks this module, where there is one, which wheels fit the machine.
_MANYLINUX: Final = '''\
"""Makes pip see the glibc that is locked for, not this machine's."""


def manylinux_compatible(major, minor, arch):
    return (major, minor) <= (2, {minor})
'''


@dataclass(frozen=True, kw_only=True, slots=True)
class Interpreter:
    """A Python that can run pip-compile; `path` is what it finds our pip-tools by (or empty)."""

    executable: str
    path: str


def why_not_pip_tools(job: PipJob) -> str | None:
    """Return why pip-compile can't answer for the job's target, or None if it can.

    It resolves for the machine and the interpreter it runs on. An empty text: nothing that a
    user would want to hear of.
    """
    if job.platform != find_host_platform() or job.overrides:
        return ""
    if job.before and not _knows_time():
        return "this pip is too old for `exclude-newer`, which came with pip 26.0"
    if job.platform.os == "linux":
        glibc = _find_glibc()
        if glibc is None or glibc < parse_glibc(job.glibc):
            return f"this machine's libc is older than the glibc {job.glibc} of the target"
    if find_interpreter(job.minor) is None:
        return f"there is no Python {job.minor} on this machine"
    return None


def resolve_with_pip_tools(job: PipJob) -> Mapping[str, str]:
    """Return the version of each package as pip-compile resolves; conda's are left out.

    Without hashes: pip-compile takes them from one index's own JSON API, and where that is
    missing (every mirror, every private index) downloads all files of every version to hash them.

    Raises `ToolExitError` if it finds no answer.
    """
    interpreter = find_interpreter(job.minor)
    if interpreter is None:
        raise ValueError(f"there is no Python {job.minor}")
    target = job.work / "pip-tools.txt"
    seed = "".join(f"{pin.name}=={pin.version}\n" for pin in job.kept)
    target.write_text(seed, encoding="utf-8")
    argv = [
        interpreter.executable, "-c", _START, "compile", "--quiet", "--no-config",
        "--no-header", "--no-emit-options", "--strip-extras", "--allow-unsafe",
        "--newline", "lf", "--annotation-style", "split", "--pip-args", "--only-binary=:all:",
        "--constraint", job.conda.name, "--output-file", target.name, job.request.name,
    ]  # fmt: skip
    if job.upgrade.everything:
        argv.insert(4, "--upgrade")
    run_tool(
        argv, tool="pip-compile", env=_environment(job, interpreter), cwd=job.work,
        logs=job.logs, secrets=job.indexes.secrets,
    )  # fmt: skip
    pins = parse_pins(target.read_text(encoding="utf-8"))
    return {pin.name: pin.version for pin in pins if pin.name not in job.brought}


def _knows_time() -> bool:
    from importlib.metadata import version

    return int(version("pip").partition(".")[0]) >= 26


def _environment(job: PipJob, interpreter: Interpreter) -> dict[str, str]:
    environment = pip_environment(job.indexes)
    links = environment.get("PIP_FIND_LINKS", "")
    environment["PIP_FIND_LINKS"] = f"{job.stubs.absolute().as_uri()} {links}".strip()
    if job.before:
        environment["PIP_UPLOADED_PRIOR_TO"] = job.before
    paths = [p for p in (interpreter.path, environment.get("PYTHONPATH")) if p]
    if job.platform.os == "linux":
        paths.insert(0, str(_write_manylinux(job)))
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment


def _write_manylinux(job: PipJob) -> Path:
    folder = job.work / "manylinux"
    folder.mkdir(exist_ok=True)
    text = _MANYLINUX.format(minor=parse_glibc(job.glibc))
    (folder / "_manylinux.py").write_text(text, encoding="utf-8")
    return folder.absolute()


def _find_glibc() -> int | None:
    """Return the minor version of this machine's glibc 2, or None where it has another libc."""
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, OSError, ValueError):
        return None
    found = re.fullmatch(r"glibc 2\.(\d+).*", text)
    return int(found[1]) if found else None


def find_interpreter(minor: str) -> Interpreter | None:
    """Return a Python of `minor` (`3.11`) that runs our pip-tools: this one, or one on `PATH`."""
    if minor == f"{sys.version_info.major}.{sys.version_info.minor}":
        return Interpreter(executable=sys.executable, path="")
    return _search(minor, os.environ.get("PATH", ""))


@lru_cache(maxsize=8)
def _search(minor: str, folders: str) -> Interpreter | None:
    path = os.pathsep.join(_find_packages())
    for folder in folders.split(os.pathsep):
        executable = Path(folder) / f"python{minor}"
        if folder and os.access(executable, os.X_OK) and _runs(executable, path, minor):
            return Interpreter(executable=str(executable), path=path)
    return None


def _find_packages() -> list[str]:
    """Return the folders that hold pip-tools and what it imports; all of that is pure Python."""
    from importlib.util import find_spec

    found = [find_spec(name) for name in ("piptools", "pip", "click", "build")]
    origins = [Path(spec.origin) for spec in found if spec and spec.origin]
    return list(dict.fromkeys(str(origin.parent.parent) for origin in origins))


def _runs(executable: Path, path: str, minor: str) -> bool:
    # A version manager's shim is there whether or not it has a Python to start.
    try:
        answer = subprocess.run(
            [str(executable), "-c", _PROBE],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.strip() == minor
