"""Locks Python packages from indexes: pip-compile or uv choose versions, `packaging` the wheels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from envbuild.kit.process import ToolExitError
from envbuild.kit.progress import Progress
from envbuild.lock.model import Wheel
from envbuild.lock.names import normalise_name
from envbuild.lock.pip_download import Batch, download_batches
from envbuild.lock.pip_failures import explain_no_wheel, explain_resolution, find_broken_index
from envbuild.lock.pip_indexes import find_indexes
from envbuild.lock.pip_job import PipJob, write_job
from envbuild.lock.pip_pins import Pin, parse_pins, render_requirements
from envbuild.lock.pip_sizes import find_sizes
from envbuild.lock.pip_tools import resolve_with_pip_tools, why_not_pip_tools
from envbuild.lock.pip_uv import Listing, find_reasons, list_pinned, resolve_with_uv
from envbuild.lock.upgrade import Upgrade
from envbuild.lock.wheel_choice import MACOS, WheelFile, choose_wheel, rank_tags
from envbuild.spec.model import EnvSpec
from envbuild.spec.platforms import Platform

__all__ = ["PipSolution", "resolve_pip"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PipSolution:
    """`requirements.PLATFORM.txt`, its wheels, and the versions of the tools that answered."""

    text: bytes
    wheels: tuple[Wheel, ...]
    tools: Mapping[str, str]


def resolve_pip(
    spec: EnvSpec,
    *,
    platform: Platform,
    python: str,
    glibc: str,
    constraints: Mapping[str, str],
    previous: bytes | None,
    upgrade: Upgrade,
    work: Path,
    logs: Path,
    progress: Progress,
    task: str,
) -> PipSolution:
    """Resolve `spec.pip` for one platform into pins and the one wheel of each.

    `python` is the target's full version or `MAJOR.MINOR`, `glibc` its glibc (empty off Linux),
    `constraints` the distributions that conda brings: they bind, and are not in the result.
    `previous` is the earlier requirements file, whose pins stay as far as `upgrade` lets them.
    `work` is a folder for this call alone, `task` the environment's name.

    Raises `LockError`: `lock.unsatisfiable`, `lock.no-wheel`, `lock.no-hash`, `lock.index`; and
    `ToolError` for a tool that fails in another way, its output kept below `logs`.
    """
    forgotten = frozenset(map(normalise_name, upgrade.packages))
    old = () if previous is None else parse_pins(previous.decode("utf-8", "replace"))
    job = PipJob(
        task=task,
        requirements=spec.pip.dependencies,
        platform=platform,
        python=python,
        glibc=glibc,
        macos=(spec.conda and spec.conda.virtual_packages.osx) or MACOS,
        constraints=constraints,
        kept=() if upgrade.everything else tuple(p for p in old if p.name not in forgotten),
        upgrade=replace(upgrade, packages=forgotten),
        indexes=find_indexes(spec, logs=logs),
        work=work,
        logs=logs,
        progress=progress,
    )
    write_job(job)
    _warn_of_extras(job)
    progress.update(task, f"resolving Python packages for {platform.subdir}")
    listing, tools = _resolve(job, spec.pip.resolver)
    wheels = _choose(job, listing)
    reasons = find_reasons(job, listing.versions)
    pins = [
        Pin(name=w.name, version=w.version, hashes=(w.sha256,), via=reasons.get(w.name, ()))
        for w in wheels
    ]
    return PipSolution(
        text=render_requirements(pins, task=task, platform=platform.subdir),
        wheels=tuple(wheels),
        tools=_find_versions(tools),
    )


def _warn_of_extras(job: PipJob) -> None:
    """Say what an extra can't do: conda has brought that package, without its extras."""
    from packaging.requirements import Requirement

    for text in job.requirements:
        requirement = Requirement(text)
        name = normalise_name(requirement.name)
        if requirement.extras and name in job.brought:
            extras = ",".join(sorted(requirement.extras))
            job.progress.note(
                f"{job.task}: conda brings `{name}`, so nothing is locked for `{name}[{extras}]`; "
                f"name what that needs in `pip.dependencies`"
            )


def _resolve(job: PipJob, resolver: str) -> tuple[Listing, tuple[str, ...]]:
    """Return the versions, the wheels that the target could use, and the tools that answered."""
    reason: str | None = ""
    if resolver == "pip-tools":
        reason = why_not_pip_tools(job)
        if reason is None:
            listing, reason = _ask_pip_tools(job)
            if listing is not None:
                return listing, ("pip", "pip-tools", "uv")
    listing = _ask_uv(job)
    if reason:
        where = job.platform.subdir
        job.progress.note(f"{job.task}: uv resolved for {where} instead of pip-tools: {reason}")
    return listing, ("uv",)


def _ask_uv(job: PipJob) -> Listing:
    try:
        return resolve_with_uv(job)
    except ToolExitError as error:
        found = explain_resolution(error, job)
        if found is None:
            raise
        raise found from error


def _ask_pip_tools(job: PipJob) -> tuple[Listing | None, str]:
    """Return pip-compile's answer, or None and why it doesn't hold on the target."""
    try:
        versions = resolve_with_pip_tools(job)
    except ToolExitError as error:
        if error.returncode < 0:
            raise
        if broken := find_broken_index(job.indexes, job.requested):
            raise broken from error
        # uv explains the same impossibility in sentences, where pip prints a traceback.
        return None, f"pip-compile found no answer (`{error.log}`)"
    try:
        listing = list_pinned(job, versions)
    except ToolExitError as error:
        if error.returncode < 0:
            raise
        return None, "what pip-compile chose has no wheels there"
    # pip-compile resolves for this very interpreter, which may differ in its last digit.
    if listing.versions != versions:
        return None, f"its Python {job.python} needs other packages than this machine's"
    return listing, ""


def _choose(job: PipJob, listing: Listing) -> list[Wheel]:
    """Return the wheel of each package, sorted by name."""
    ranks = rank_tags(job.platform, job.minor, job.glibc, job.macos)
    locked = {pin.name: pin.hashes for pin in job.kept}
    offered: dict[str, list[WheelFile]] = {name: [] for name in sorted(listing.versions)}
    for file in listing.files:
        offered[file.name].append(file)
    chosen = []
    for name, files in offered.items():
        best = choose_wheel(files, ranks, locked=locked.get(name, ()))
        if best is None:
            raise explain_no_wheel(f"{name}=={listing.versions[name]}", job)
        chosen.append(best)
    return [_lock(file) for file in _measure(job, chosen)]


def _measure(job: PipJob, files: list[WheelFile]) -> list[WheelFile]:
    """Return `files` with their sizes; what no one tells is downloaded to be measured."""
    sized = find_sizes(files, job.indexes)
    unknown = [_lock(file) for file in sized if not file.size]
    if not unknown:
        return sized
    batch = Batch(
        wheels=tuple(unknown), folder=job.work / "sizes", indexes=job.indexes,
        python_minor=job.minor, logs=job.logs, task=job.task,
    )  # fmt: skip
    found = download_batches([batch])
    return [f if f.size else replace(f, size=found[f.sha256].stat().st_size) for f in sized]


def _lock(file: WheelFile) -> Wheel:
    return Wheel(
        name=file.name,
        version=file.version,
        filename=file.filename,
        sha256=file.sha256,
        size=file.size,
    )


def _find_versions(tools: Iterable[str]) -> dict[str, str]:
    from importlib.metadata import version

    return {tool: version(tool) for tool in tools}
