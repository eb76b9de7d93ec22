"""Runs conda-lock's own command line, with a conda of ours or of the user's, for one request.

With ours (`conda_front.py`) every solve is a new one that prefers the pins of the previous lock.
A conda, mamba or micromamba that the settings name knows no preference: it solves from scratch,
and moves single packages through conda-lock's `--update`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from envbuild.errors import LockError, ToolError
from envbuild.kit.process import ToolExitError, run_tool
from envbuild.kit.urls import expand_references
from envbuild.lock.conda_client import (
    BEFORE_VARIABLE,
    PINS_VARIABLE,
    SIZES_VARIABLE,
    child_command,
    hide_variables,
    mirror_environment,
)
from envbuild.lock.conda_failure import (
    CondaFailure,
    parse_failure,
    say_channel,
    say_match_spec,
    say_unsatisfiable,
)
from envbuild.lock.conda_file import replace_header
from envbuild.lock.conda_own import OWN_VARIABLE
from envbuild.spec.settings import Settings

__all__ = ["CondaAnswer", "CondaRequest", "ask_conda_lock"]

_LOCKFILE: Final = "conda-lock.yml"
_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SIZES: Final = "sizes.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaRequest:
    """What conda-lock is asked, whichever environment asks: all that its answer depends on.

    `environment` and `machines` are the texts of environment.yml and virtual-packages.yml. `pins`,
    by platform and name the SHA-256 of what is preferred, are for envbuild's own solver. A user's
    conda gets `previous`, the last lock, and `moving`, the packages to upgrade in it.
    """

    environment: str
    machines: str
    channels: tuple[str, ...]
    platforms: tuple[str, ...]
    direct: frozenset[str]
    before: str
    pins: Mapping[str, Mapping[str, str]]
    previous: str | None = None
    moving: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaAnswer:
    """What conda-lock wrote, the sizes of archives as far as they were told, and the tools."""

    text: str
    sizes: Mapping[str, int]
    tools: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Executable:
    """The conda that conda-lock calls; `own` if it is envbuild's."""

    path: Path
    name: str
    version: str
    own: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """Everything that the calls of conda-lock for one request share."""

    request: CondaRequest
    settings: Settings
    folder: Path
    executable: _Executable
    environment: Mapping[str, str]
    secrets: tuple[str, ...]
    logs: Path
    task: str


def ask_conda_lock(
    request: CondaRequest, *, folder: Path, settings: Settings, logs: Path, task: str
) -> CondaAnswer:
    """Return what conda-lock answers to `request`; `folder` is for temporary files, and empty.

    Raises `LockError` (`lock.unsatisfiable`, `lock.channel`, `lock.match-spec`,
    `lock.upgrade-indirect`, `lock.mirror`), `ToolError`, and `EnvbuildError` `credential.unset`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = _prepare(request, folder=folder, settings=settings, logs=logs, task=task)
    _solve(run)
    text = replace_header((folder / _LOCKFILE).read_text(encoding="utf-8"))
    return CondaAnswer(text=text, sizes=_read_sizes(run), tools=_tools(run.executable))


def _read_sizes(run: _Run) -> dict[str, int]:
    """Return the sizes that our own solver left, by SHA-256."""
    file = run.folder / _SIZES
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {sha256: int(size) for line in lines for sha256, size in json.loads(line).items()}


def _prepare(
    request: CondaRequest, *, folder: Path, settings: Settings, logs: Path, task: str
) -> _Run:
    channels = request.channels
    secrets = _find_secrets(_list_places(channels, settings))
    (folder / "environment.yml").write_text(request.environment, encoding="utf-8")
    (folder / "virtual-packages.yml").write_text(request.machines)
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = {**_keep_apart(os.environ, channels), "TMPDIR": str(temporary)}
    if settings.conda is None:
        executable = _write_front(folder)
        environment.pop("CONDA_FLAGS", None)  # they are for the user's conda
        environment = hide_variables(environment, _find_references(channels))
        environment |= mirror_environment(settings.mirrors)
        environment[SIZES_VARIABLE] = str(folder / _SIZES)
        environment[BEFORE_VARIABLE] = request.before
    else:
        executable = _find_executable(settings.conda, logs=logs)
        if references := _find_references(channels):
            environment = hide_variables(environment, references)
            environment[OWN_VARIABLE] = str(executable.path)
            executable = _write_middleman(folder, executable)
    return _Run(
        request=request,
        settings=settings,
        folder=folder,
        executable=executable,
        environment=environment,
        secrets=secrets,
        logs=logs,
        task=task,
    )


def _list_places(channels: Iterable[str], settings: Settings) -> list[str]:
    """Return all URLs and names that a package may come from, as they are written."""
    return [*channels, *(m for mirrors in settings.mirrors.values() for m in mirrors)]


def _find_secrets(urls: Iterable[str]) -> tuple[str, ...]:
    """Return the values that the URLs' references stand for."""
    return tuple(sorted(expand_references(f"${{{name}}}") for name in _find_references(urls)))


def _find_references(urls: Iterable[str]) -> set[str]:
    return {name for url in urls for name in _REFERENCE.findall(url)}


def _keep_apart(environment: Mapping[str, str], channels: Iterable[str]) -> dict[str, str]:
    """Return the environment without variables whose value happens to be a user in a channel's URL.

    conda-lock would write that variable in place of the name, on this machine and on no other.
    """
    urls = list(channels)
    users = {found[1] for url in urls if (found := re.search(r"://([^:@/$]+):[^@/]*@", url))}
    wanted = _find_references(urls)
    return {n: value for n, value in environment.items() if n in wanted or value not in users}


def _write_front(folder: Path) -> _Executable:
    from importlib.metadata import version

    # conda-lock tells conda, mamba and micromamba apart by this name.
    path = folder / "conda-front"
    _write_program(path, "envbuild.lock.conda_front")
    return _Executable(path=path, name="py-rattler", version=version("py-rattler"), own=True)


def _write_middleman(folder: Path, own: _Executable) -> _Executable:
    """Return what is called in place of `own`, under its name: see `conda_own`."""
    path = folder / "own" / own.name
    path.parent.mkdir(exist_ok=True)
    _write_program(path, "envbuild.lock.conda_own")
    return replace(own, path=path)


def _write_program(path: Path, module: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(child_command(module))} "$@"\n')
    path.chmod(0o755)


def _find_executable(wanted: str, *, logs: Path) -> _Executable:
    """Find the user's executable and see that it runs; conda-lock would download one if not."""
    found = shutil.which(Path(wanted).expanduser())
    if found is None:
        raise ToolError(
            "tool.missing",
            f"`conda` of `[tool.envbuild]` is `{wanted}`, and there is no such program",
            hint="leave `conda` out: envbuild solves without one; or install it, "
            "or write its whole path",
        )
    # Not resolved: a link's own name says which program it is.
    path = Path(found).absolute()
    said = run_tool([str(path), "--version"], tool=path.name, logs=logs).split("\n", 1)[0]
    version = re.search(r"\d+(?:\.\w+)+", said)
    return _Executable(
        path=path, name=path.name, version=version[0] if version else said.strip(), own=False
    )


def _tools(executable: _Executable) -> dict[str, str]:
    from importlib.metadata import version

    return {"conda-lock": version("conda-lock"), executable.name: executable.version}


def _solve(run: _Run) -> None:
    """Leave a fresh conda-lock.yml in the run's folder."""
    request = run.request
    if run.executable.own:
        _call(run, pins=request.pins)
        return
    previous = request.previous
    if previous is None or not request.moving or not _same_channels(run, previous):
        _call(run)
        return
    for name in sorted(request.moving - request.direct):
        raise LockError(
            "lock.upgrade-indirect",
            f"`{run.executable.name}` can only upgrade packages that the spec names, and `{name}` "
            "is none of them",
            hint=f"add `{name}` to `conda.dependencies`, or upgrade all packages with "
            f"`nox -s lock -- {run.task} --upgrade`",
        )
    (run.folder / _LOCKFILE).write_text(previous, encoding="utf-8")
    # First whatever the spec changed: `--update` looks at the packages that it names, no others.
    _call(run, "--check-input-hash")
    _call(run, *(f"--update={name}" for name in sorted(request.moving)))


def _same_channels(run: _Run, previous: str) -> bool:
    import yaml

    metadata = yaml.safe_load(previous)["metadata"]
    return [channel["url"] for channel in metadata["channels"]] == list(run.request.channels)


def _call(run: _Run, *arguments: str, pins: Mapping[str, Mapping[str, str]] | None = None) -> None:
    environment = dict(run.environment)
    if pins:
        file = run.folder / "pins.json"
        file.write_text(json.dumps(pins))
        environment[PINS_VARIABLE] = str(file)
    try:
        _run_conda_lock(run, arguments, environment)
    except ToolExitError as error:
        failure = parse_failure(error.output)
        if failure is None:
            raise
        raise _explain(run, failure, error.log, environment) from error


def _run_conda_lock(run: _Run, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    command = [sys.executable, "-P", "-m", "conda_lock", "lock", "--kind=lock"]
    command += [f"--conda={run.executable.path}", "--file=environment.yml"]
    command += [f"--lockfile={_LOCKFILE}", "--virtual-package-spec=virtual-packages.yml"]
    run_tool(
        [*command, *arguments],
        tool="conda-lock",
        env=environment,
        cwd=run.folder,
        logs=run.logs,
        secrets=run.secrets,
    )


def _explain(
    run: _Run, failure: CondaFailure, log: Path, environment: Mapping[str, str]
) -> LockError:
    """Return the error to raise for a conda-lock that failed."""
    if failure.kind == "channel":
        return say_channel(
            failure, log=log, written=_list_places(run.request.channels, run.settings)
        )
    if failure.kind == "match-spec":
        return say_match_spec(failure, task=run.task)
    failures = [failure, *_ask_the_others(run, failure, environment)]
    return say_unsatisfiable(failures, task=run.task, log=log)


def _ask_the_others(
    run: _Run, first: CondaFailure, environment: Mapping[str, str]
) -> list[CondaFailure]:
    """Return why other platforms fail too: conda-lock takes them in order, and stops at one."""
    failures = []
    for platform in run.request.platforms:
        if platform <= first.platform:
            continue
        (run.folder / _LOCKFILE).unlink(missing_ok=True)
        try:
            _run_conda_lock(run, [f"--platform={platform}"], environment)
        except ToolExitError as error:
            failure = parse_failure(error.output)
            if failure and failure.kind == "unsatisfiable":
                failures.append(failure)
    return failures
