"""Locks conda packages: conda-lock's own command line, with a conda of ours or of the user's.

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
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from envbuild.errors import LockError, ToolError
from envbuild.kit.places import Cache
from envbuild.kit.process import ToolExitError, run_tool
from envbuild.kit.progress import Progress
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
from envbuild.lock.conda_file import (
    CondaEntry,
    check_match_specs,
    check_no_secret,
    parse_conda_lock,
    plan_virtual_packages,
    render_environment,
    render_virtual_packages,
    replace_header,
)
from envbuild.lock.conda_own import OWN_VARIABLE
from envbuild.lock.conda_sizes import size_packages
from envbuild.lock.model import CondaPackage
from envbuild.lock.upgrade import Upgrade
from envbuild.spec.derive import find_cutoff
from envbuild.spec.formats import find_conda_name
from envbuild.spec.model import Conda, EnvSpec
from envbuild.spec.platforms import PLATFORMS
from envbuild.spec.settings import Settings

__all__ = ["CondaSolution", "solve_conda"]

_LOCKFILE: Final = "conda-lock.yml"
_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

_SIZES: Final = "sizes.jsonl"

_Entries = Mapping[str, tuple[CondaEntry, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaSolution:
    """What was locked: conda-lock.yml's bytes, its packages by platform, and by which tools."""

    text: bytes
    packages: Mapping[str, tuple[CondaPackage, ...]]
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
    """Everything that the calls of conda-lock for one environment share."""

    spec: EnvSpec
    conda: Conda
    settings: Settings
    folder: Path
    executable: _Executable
    environment: Mapping[str, str]
    secrets: tuple[str, ...]
    logs: Path
    task: str


def solve_conda(
    spec: EnvSpec,
    *,
    previous: bytes | None,
    upgrade: Upgrade,
    work: Path,
    settings: Settings,
    cache: Cache,
    progress: Progress,
    task: str,
    sizes: Mapping[str, int] | None = None,
) -> CondaSolution:
    """Lock the conda packages of `spec`, which has `[conda]`, for all its platforms.

    `previous` is the last `conda-lock.yml`, whose pins stay where the request allows and `upgrade`
    doesn't say otherwise; `sizes` are those of archives that the last lock had, by SHA-256. `work`
    is a folder for temporary files. The same channels give the same bytes; credentials in them are
    the references that the spec writes. Every package has a SHA-256: where a channel only knows an
    MD5, envbuild's own solver fetches the archive, checks that and hashes it; a user's conda can't,
    and the package is refused.

    Raises `LockError` (`lock.unsatisfiable`, `lock.channel`, `lock.defaults-channel`,
    `lock.match-spec`, `lock.unknown-package`, `lock.upgrade-indirect`, `lock.no-sha256`,
    `lock.secret`, `lock.mirror`; those of `fetch_conda` for an archive that has to be measured),
    `ToolError` for an executable that can't be used, and `EnvbuildError` `credential.unset` for a
    reference to a variable that isn't set.
    """
    conda = spec.conda
    if conda is None:
        raise ValueError("the spec has no [conda]")
    check_match_specs(_list_dependencies(spec))
    _check_channels(conda, settings)
    _check_time(spec, settings)
    old = {} if previous is None or upgrade.everything else _read_previous(previous, progress)
    _check_upgrade_names(spec, old, upgrade, task)
    folder = work / "conda"
    folder.mkdir(parents=True, exist_ok=True)
    run = _prepare(spec, conda, folder=folder, settings=settings, logs=cache.logs, task=task)
    progress.update(task, f"solving conda packages for {', '.join(sorted(spec.platforms))}")
    _solve(run, old=old, previous=previous, upgrade=upgrade)
    text = replace_header((folder / _LOCKFILE).read_text(encoding="utf-8"))
    check_no_secret(text, conda.channels)
    data = text.encode()
    packages = size_packages(
        parse_conda_lock(data), known={**(sizes or {}), **_read_sizes(run)}, settings=settings,
        cache=cache, progress=progress, task=task,
    )  # fmt: skip
    return CondaSolution(text=data, packages=packages, tools=_tools(run.executable))


def _read_sizes(run: _Run) -> dict[str, int]:
    """Return the sizes that our own solver left, by SHA-256."""
    file = run.folder / _SIZES
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {sha256: int(size) for line in lines for sha256, size in json.loads(line).items()}


def _check_channels(conda: Conda, settings: Settings) -> None:
    if "defaults" in conda.channels and settings.conda is None:
        raise LockError(
            "lock.defaults-channel",
            "`defaults` is no channel but what a conda's own settings make of it",
            hint="write the URLs of those channels into `conda.channels`, or name that conda as "
            "`conda` in `[tool.envbuild]`",
        )


def _check_time(spec: EnvSpec, settings: Settings) -> None:
    if spec.exclude_newer and settings.conda is not None:
        raise LockError(
            "lock.exclude-newer",
            f"`{settings.conda}`, the `conda` of `[tool.envbuild]`, can't leave out what was "
            f"published after `{spec.exclude_newer}`",
            hint="leave out that `conda`: envbuild's own solver can; or leave out `exclude-newer`",
        )


def _read_previous(previous: bytes, progress: Progress) -> _Entries:
    try:
        return parse_conda_lock(previous)
    except LockError as error:
        progress.note(f"no pin of the previous lock is kept: {error.message}")
        return {}


def _find_direct_names(spec: EnvSpec) -> set[str]:
    return {"python", *(find_conda_name(text) for text in _list_dependencies(spec))}


def _list_dependencies(spec: EnvSpec) -> list[str]:
    """Return the match specs of all platforms and of single ones."""
    extra = (text for one in spec.platform.values() for text in one.conda.dependencies)
    return [*(spec.conda.dependencies if spec.conda else ()), *extra]


def _check_upgrade_names(spec: EnvSpec, old: _Entries, upgrade: Upgrade, task: str) -> None:
    known = {p.name for packages in old.values() for p in packages} | _find_direct_names(spec)
    for name in sorted(upgrade.packages - known):
        near = get_close_matches(name, sorted(known), n=3)
        raise LockError(
            "lock.unknown-package",
            f"`{name}` is no conda package of `{task}`, so it can't be upgraded",
            hint=f"did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else None,
        )


def _prepare(
    spec: EnvSpec, conda: Conda, *, folder: Path, settings: Settings, logs: Path, task: str
) -> _Run:
    secrets = _find_secrets(_list_places(conda, settings))
    planned = {
        name: plan_virtual_packages(conda.virtual_packages, PLATFORMS[name])
        for name in spec.platforms
    }
    (folder / "environment.yml").write_text(render_environment(spec), encoding="utf-8")
    (folder / "virtual-packages.yml").write_text(render_virtual_packages(planned))
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = {**_keep_apart(os.environ, conda.channels), "TMPDIR": str(temporary)}
    if settings.conda is None:
        executable = _write_front(folder)
        environment.pop("CONDA_FLAGS", None)  # they are for the user's conda
        environment = hide_variables(environment, _find_references(conda.channels))
        environment |= mirror_environment(settings.mirrors)
        environment[SIZES_VARIABLE] = str(folder / _SIZES)
        environment[BEFORE_VARIABLE] = find_cutoff(spec)
    else:
        executable = _find_executable(settings.conda, logs=logs)
        if references := _find_references(conda.channels):
            environment = hide_variables(environment, references)
            environment[OWN_VARIABLE] = str(executable.path)
            executable = _write_middleman(folder, executable)
    return _Run(
        spec=spec,
        conda=conda,
        settings=settings,
        folder=folder,
        executable=executable,
        environment=environment,
        secrets=secrets,
        logs=logs,
        task=task,
    )


def _list_places(conda: Conda, settings: Settings) -> list[str]:
    """Return all URLs and names that a package may come from, as they are written."""
    return [*conda.channels, *(m for mirrors in settings.mirrors.values() for m in mirrors)]


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


def _solve(run: _Run, *, old: _Entries, previous: bytes | None, upgrade: Upgrade) -> None:
    """Leave a fresh conda-lock.yml in the run's folder."""
    if run.executable.own:
        _call(run, pins=_choose_pins(old, upgrade))
        return
    direct = _find_direct_names(run.spec)
    if previous is None or not old or not upgrade.packages or not _same_channels(run, previous):
        _call(run)
        return
    for name in sorted(upgrade.packages - direct):
        raise LockError(
            "lock.upgrade-indirect",
            f"`{run.executable.name}` can only upgrade packages that the spec names, and `{name}` "
            "is none of them",
            hint=f"add `{name}` to `conda.dependencies`, or upgrade all packages with "
            f"`nox -s lock -- {run.task} --upgrade`",
        )
    (run.folder / _LOCKFILE).write_bytes(previous)
    # First whatever the spec changed: `--update` looks at the packages that it names, no others.
    _call(run, "--check-input-hash")
    _call(run, *(f"--update={name}" for name in sorted(upgrade.packages)))


def _choose_pins(old: _Entries, upgrade: Upgrade) -> dict[str, dict[str, str]]:
    return {
        platform: {p.name: p.sha256 for p in packages if p.name not in upgrade.packages}
        for platform, packages in old.items()
    }


def _same_channels(run: _Run, previous: bytes) -> bool:
    import yaml

    metadata = yaml.safe_load(previous)["metadata"]
    return [channel["url"] for channel in metadata["channels"]] == list(run.conda.channels)


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
        return say_channel(failure, log=log, written=_list_places(run.conda, run.settings))
    if failure.kind == "match-spec":
        return say_match_spec(failure, task=run.task)
    failures = [failure, *_ask_the_others(run, failure, environment)]
    return say_unsatisfiable(failures, task=run.task, log=log)


def _ask_the_others(
    run: _Run, first: CondaFailure, environment: Mapping[str, str]
) -> list[CondaFailure]:
    """Return why other platforms fail too: conda-lock takes them in order, and stops at one."""
    failures = []
    for platform in sorted(run.spec.platforms):
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
