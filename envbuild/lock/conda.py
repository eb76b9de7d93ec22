"""Locks conda packages: plans what conda-lock is asked, reads its answer, measures the archives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from envbuild.errors import LockError
from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.lock.conda_file import (
    CondaEntry,
    check_match_specs,
    check_no_secret,
    parse_conda_lock,
    plan_virtual_packages,
    render_environment,
    render_virtual_packages,
)
from envbuild.lock.conda_run import CondaAnswer, CondaRequest, ask_conda_lock
from envbuild.lock.conda_sizes import size_packages
from envbuild.lock.model import CondaPackage
from envbuild.lock.sharing import NAMELESS, Sharing, make_key
from envbuild.lock.upgrade import Upgrade, explain_unknown
from envbuild.spec.derive import find_cutoff
from envbuild.spec.formats import find_conda_name
from envbuild.spec.model import Conda, EnvSpec
from envbuild.spec.platforms import PLATFORMS
from envbuild.spec.settings import Settings

__all__ = ["CondaSolution", "solve_conda"]

_Entries = Mapping[str, tuple[CondaEntry, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaSolution:
    """What was locked: conda-lock.yml's bytes, its packages by platform, and by which tools."""

    text: bytes
    packages: Mapping[str, tuple[CondaPackage, ...]]
    tools: Mapping[str, str]


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
    sharing: Sharing,
    sizes: Mapping[str, int] | None = None,
) -> CondaSolution:
    """Lock the conda packages of `spec`, which has `[conda]`, for all its platforms.

    `previous` is the last `conda-lock.yml`, whose pins stay where the request allows and `upgrade`
    doesn't say otherwise; `sizes` are those of archives that the last lock had, by SHA-256. `work`
    is a folder for temporary files, and `sharing` has what was asked alike before. The same
    channels give the same bytes; credentials in them are the references that the spec writes. Every
    package has a SHA-256: where a channel only knows an MD5, envbuild's own solver fetches the
    archive, checks that and hashes it; a user's conda can't, and the package is refused.

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
    own = settings.conda is None
    request = CondaRequest(
        environment=render_environment(spec),
        machines=_render_machines(spec, conda),
        channels=conda.channels,
        platforms=tuple(sorted(spec.platforms)),
        direct=frozenset(_find_direct_names(spec)),
        before=find_cutoff(spec),
        pins=_choose_pins(old, upgrade, spec.platforms) if own else {},
        previous=previous.decode() if previous is not None and old and not own else None,
        moving=upgrade.packages if not own else frozenset(),
    )

    def ask(_: Progress) -> CondaAnswer:
        folder = work / "conda"
        return ask_conda_lock(
            request, folder=folder, settings=settings, logs=cache.logs, task=NAMELESS
        )

    progress.update(task, f"solving conda packages for {', '.join(sorted(spec.platforms))}")
    answer = sharing.solve(make_key("conda", request), ask, task=task, progress=progress)
    check_no_secret(answer.text, conda.channels)
    data = answer.text.encode()
    packages = size_packages(
        parse_conda_lock(data), known={**(sizes or {}), **answer.sizes}, settings=settings,
        cache=cache, progress=progress, task=task,
    )  # fmt: skip
    return CondaSolution(text=data, packages=packages, tools=answer.tools)


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
        raise explain_unknown(name, known, f"no conda package of `{task}`")


def _choose_pins(
    old: _Entries, upgrade: Upgrade, platforms: Iterable[str]
) -> dict[str, dict[str, str]]:
    return {
        platform: {p.name: p.sha256 for p in old[platform] if p.name not in upgrade.packages}
        for platform in platforms
        if platform in old
    }


def _render_machines(spec: EnvSpec, conda: Conda) -> str:
    planned = {
        name: plan_virtual_packages(conda.virtual_packages, PLATFORMS[name])
        for name in spec.platforms
    }
    return render_virtual_packages(planned)
