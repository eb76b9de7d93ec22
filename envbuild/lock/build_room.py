"""Builds a Python project into a wheel: its own build requirements, no network, no secrets.

PEP 517 and 518: a fresh virtual environment gets exactly the locked build requirements, and the
project's backend runs in it. The backend sees a home folder of its own, a fixed time and locale,
none of this process's variables apart from those of a compiler, and on Linux no network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from envbuild.errors import LockError
from envbuild.kit.process import ToolExitError, run_tool
from envbuild.lock.build_python import find_python
from envbuild.lock.build_wheel import normalise_wheel
from envbuild.lock.model import Wheel
from envbuild.lock.pip_choice import choose_wheels
from envbuild.lock.pip_failures import explain_resolution
from envbuild.lock.pip_indexes import find_indexes, uv_environment
from envbuild.lock.pip_job import PipJob, write_job
from envbuild.lock.pip_uv import resolve_with_uv
from envbuild.lock.provenance import Shop
from envbuild.lock.upgrade import Upgrade
from envbuild.lock.wheel_choice import MACOS
from envbuild.lock.wheels import fetch_wheels
from envbuild.spec.derive import find_cutoff
from envbuild.spec.platforms import Platform, find_host_platform

__all__ = ["Hook", "build_project", "find_host", "find_host_glibc"]

Hook = Literal["build_wheel", "build_editable"]

_EPOCH: Final = "315532800"
"""1980, the first year that a zip can tell; reproducible-builds.org, `SOURCE_DATE_EPOCH`."""
_KEPT: Final = ("PATH", "CC", "CXX", "AR", "LD", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS",
                "SSL_CERT_FILE", "LD_LIBRARY_PATH", "SystemRoot")  # fmt: skip
_LEGACY: Final = ("setuptools.build_meta:__legacy__", ("setuptools>=40.8.0",))
"""What PEP 517 says of a project without a `build-system` table."""

_RUNNER: Final = """\
import importlib, json, sys

source, target = sys.argv[1:]  # a backend may change them
with open(source, encoding="utf-8") as opened:
    request = json.load(opened)
sys.path[:0] = request["path"]
module, _, attributes = request["backend"].partition(":")
backend = importlib.import_module(module)
for attribute in filter(None, attributes.split(".")):
    backend = getattr(backend, attribute)
hook = getattr(backend, request["hook"], None)
answer = {"missing": True} if hook is None else {"value": hook(*request["arguments"])}
with open(target, "w", encoding="utf-8") as out:
    json.dump(answer, out)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _System:
    """A project's `build-system`: its backend, where else to look for it, what it asks for."""

    backend: str
    path: tuple[str, ...]
    requires: tuple[str, ...]


def build_project(
    project: Path,
    *,
    package: str,
    shop: Shop,
    work: Path,
    requires: Sequence[Wheel] | None = None,
    hook: Hook = "build_wheel",
    asks: Sequence[Hook] = ("build_wheel",),
) -> tuple[Path, tuple[Wheel, ...]]:
    """Build the project in the folder `project`; return the wheel, in canonical form, below `work`.

    `requires` are the locked build requirements; None resolves them now, those of all hooks that
    `asks` names, and the second value says to what. `package` is its name for messages, `work` an
    empty folder for this call alone.

    Raises `LockError`: `pip.build-failed`, `pip.build-requires`, `pip.no-python`,
    `pip.not-editable` (no such hook), and those of locking and fetching wheels.
    """
    system = _read_system(project, package)
    python, version = find_python(shop.minor, package=package)
    room = _Room(package=package, shop=shop, work=work, python=python, project=project)
    # A work folder for each environment: the second, if any, has the backend's own wishes.
    wanted = set(system.requires)
    if requires is None:
        requires = _resolve(sorted(wanted), room, version, 0)
        room.install(requires, 0)
        answers = [room.call(system, f"get_requires_for_{ask}", [None], 0) for ask in asks]
        more = {text for answer in answers for text in answer.get("value") or []} - wanted
        if more:
            requires = _resolve(sorted(wanted | more), room, version, 1)
            room.install(requires, 1)
        number = 1 if more else 0
    else:
        room.install(requires, 0)
        number = 0
    shop.progress.update(shop.task, f"building {package}")
    out = work / "out"
    out.mkdir()
    answer = room.call(system, hook, [str(out), None, None], number)
    if answer.get("missing"):
        raise LockError(
            "pip.not-editable",
            f"the build backend of `{package}`, `{system.backend}`, can't install it editable",
            hint="take a newer version of it, or another backend, in its `pyproject.toml`",
        )
    built = out / str(answer.get("value"))
    if not built.is_file():
        raise LockError(
            "pip.build-failed",
            f"`{package}` was built without an error, but its backend left no wheel",
            hint="build it by hand to see what is wrong: `python -m build --wheel`",
        )
    final = work / "final"
    final.mkdir()
    return normalise_wheel(built, final), tuple(requires)


def _read_system(project: Path, package: str) -> _System:
    import tomli

    file = project / "pyproject.toml"
    if not file.is_file():
        if not (project / "setup.py").is_file():
            raise LockError(
                "pip.no-project",
                f"`{package}` has neither `pyproject.toml` nor `setup.py`, so it can't be built",
                hint="correct the folder: that of the project itself is wanted",
            )
        return _System(backend=_LEGACY[0], path=(), requires=_LEGACY[1])
    try:
        table = tomli.loads(file.read_text(encoding="utf-8")).get("build-system", {})
        requires = tuple(map(str, table.get("requires", _LEGACY[1])))
        backend = str(table.get("build-backend", _LEGACY[0]))
        path = tuple(str(project / part) for part in table.get("backend-path", ()))
    except (tomli.TOMLDecodeError, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise LockError(
            "pip.bad-project",
            f"the `pyproject.toml` of `{package}` can't be read: {error}",
            hint="correct it, or tell whoever publishes it",
        ) from None
    return _System(backend=backend, path=path, requires=requires)


def find_host(package: str) -> Platform:
    """Return this machine's platform, which builds; refuses machines that no one knows."""
    host = find_host_platform()
    if host is None:
        raise LockError(
            "pip.build-host",
            f"`{package}` can't be built from source on this machine, whose platform is unknown",
            hint="build on Linux, macOS or Windows",
        )
    return host


def find_host_glibc() -> str:
    """Return this machine's glibc as `2.N`, or "" where it has none."""
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, OSError, ValueError):
        return ""
    return ".".join(text.removeprefix("glibc ").split(".")[:2]) if text.startswith("glibc") else ""


def _resolve(requirements: list[str], room: _Room, python: str, number: int) -> tuple[Wheel, ...]:
    """Return the wheels for this machine that answer build requirements."""
    if not requirements:
        return ()
    shop = room.shop
    job = PipJob(
        task=shop.task, requirements=tuple(requirements), platform=find_host(room.package),
        python=python, glibc=find_host_glibc() or "2.17", macos=MACOS, constraints={}, kept=(),
        upgrade=Upgrade(), indexes=find_indexes(shop.spec, logs=shop.cache.logs),
        work=room.work / f"requires-{number}", logs=shop.cache.logs, progress=shop.progress,
        before=find_cutoff(shop.spec),
    )  # fmt: skip
    write_job(job)
    try:
        return tuple(choose_wheels(job, resolve_with_uv(job)))
    except ToolExitError as error:
        found = explain_resolution(error, job)
        if found is None or found.code not in {"lock.unsatisfiable", "lock.no-wheel"}:
            raise (found or error) from error
        raise LockError(
            "pip.build-requires",
            f"what `{room.package}` needs to be built ({', '.join(requirements)}) can't be had: "
            f"{found.message}",
            hint="ask for another version of it, or have its build requirements on your index "
            "as wheels",
        ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class _Room:
    """One build: what of, with which Python, and its folders below `work`."""

    package: str
    shop: Shop
    work: Path
    python: str
    project: Path

    def _venv(self, number: int) -> Path:
        return self.work / f"venv-{number}"

    def install(self, requires: Sequence[Wheel], number: int) -> None:
        """Make a virtual environment with exactly `requires` in it."""
        import uv

        shop = self.shop
        files: Mapping[str, Path] = {}
        if requires:
            files = fetch_wheels(
                requires, spec=shop.spec, platform=find_host(self.package),
                python_minor=shop.minor, cache=shop.cache, progress=shop.progress, task=shop.task,
            )  # fmt: skip
        tool, venv = str(uv.find_uv_bin()), str(self._venv(number))
        environment = uv_environment(find_indexes(shop.spec, logs=shop.cache.logs))
        environment |= {"UV_OFFLINE": "1", "UV_LINK_MODE": "copy"}

        def run(*arguments: str) -> None:
            run_tool(
                [tool, *arguments], tool="uv", env=environment, cwd=self.work, logs=shop.cache.logs
            )

        run("venv", "--quiet", "--python", self.python, venv)
        if files:
            names = sorted(map(str, files.values()))
            run("pip", "install", "--quiet", "--python", _find_bin(Path(venv)), "--no-deps", *names)

    def call(self, system: _System, hook: str, arguments: list[Any], number: int) -> dict[str, Any]:
        """Call a hook of the backend; `{"missing": True}` if it has none of that name."""
        request, answer = self.work / "request.json", self.work / "answer.json"
        runner = self.work / "runner.py"
        runner.write_text(_RUNNER, encoding="utf-8")
        request.write_text(
            json.dumps(
                {
                    "path": system.path, "backend": system.backend, "hook": hook,
                    "arguments": arguments,
                }
            ),
            encoding="utf-8",
        )  # fmt: skip
        answer.unlink(missing_ok=True)
        python = _find_bin(self._venv(number))
        argv = [*_cut_off(), python, "-I", str(runner), str(request), str(answer)]
        try:
            run_tool(
                argv, tool=f"build-{self.package}", env=self._environment(number),
                cwd=self.project, logs=self.shop.cache.logs,
            )  # fmt: skip
        except ToolExitError as error:
            if error.returncode < 0:
                raise
            raise LockError(
                "pip.build-failed",
                f"`{self.package}` could not be built from source{_quote_end(error.output)}; "
                f"all it said is in `{error.log}`",
                hint="take a version that has a wheel, or see there what is missing: compilers "
                "and libraries must be on this machine, and there is no network during a build",
            ) from error
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found

    def _environment(self, number: int) -> dict[str, str]:
        home = self.work / "home"
        home.mkdir(exist_ok=True)
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        folder = str(Path(_find_bin(self._venv(number))).parent)
        kept["PATH"] = f"{folder}{os.pathsep}{kept.get('PATH', os.defpath)}"
        # Where debuggers look for sources is no part of a library: each build has another folder.
        if os.name == "posix" and "CFLAGS" not in kept:
            kept["CFLAGS"] = f"-ffile-prefix-map={self.project}=."
        return kept | {
            "HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8",
            "TZ": "UTC", "SOURCE_DATE_EPOCH": _EPOCH, "PYTHONHASHSEED": "0",
            "PIP_NO_INDEX": "1", "UV_OFFLINE": "1", "NO_COLOR": "1",
        }  # fmt: skip


def _find_bin(venv: Path) -> str:
    folder = "Scripts" if os.name == "nt" else "bin"
    return str(venv / folder / "python")


@lru_cache(maxsize=1)
def _cut_off() -> tuple[str, ...]:
    """Return what starts a command without network, where this user may do that."""
    words = ("unshare", "--user", "--map-current-user", "--net")
    if shutil.which("unshare") is None:
        return ()
    try:
        probe = subprocess.run([*words, "true"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return words if probe.returncode == 0 else ()


def _quote_end(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return f": {lines[-1].rstrip('.')[:200]}" if lines else ""
