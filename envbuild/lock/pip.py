"""Locks Python packages from indexes: pip-compile or uv choose versions, `packaging` the wheels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from envbuild.kit.crew import run_crew
from envbuild.kit.places import Cache
from envbuild.kit.process import ToolExitError
from envbuild.kit.progress import Progress
from envbuild.lock.model import LocalTree, PlatformLock, Source, Wheel
from envbuild.lock.names import normalise_name
from envbuild.lock.pip_choice import choose_wheels
from envbuild.lock.pip_failures import explain_resolution, find_broken_index
from envbuild.lock.pip_faults import explain_fault
from envbuild.lock.pip_indexes import find_indexes
from envbuild.lock.pip_job import PipJob, is_marked, mark, unmark, write_job, write_stub
from envbuild.lock.pip_pins import Pin, parse_pins, render_requirements
from envbuild.lock.pip_stay import stay_with_uv
from envbuild.lock.pip_tools import resolve_with_pip_tools, why_not_pip_tools
from envbuild.lock.pip_uv import Listing, find_reasons, list_pinned
from envbuild.lock.provenance import Shop
from envbuild.lock.sharing import NAMELESS, Sharing, make_key
from envbuild.lock.source import Gathering, Piece, gather
from envbuild.lock.upgrade import Upgrade
from envbuild.lock.wheel_choice import MACOS
from envbuild.spec.derive import find_cutoff
from envbuild.spec.model import EnvSpec
from envbuild.spec.platforms import Platform

__all__ = ["PipSolution", "resolve_pip"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PipSolution:
    """`requirements.PLATFORM.txt`, its wheels, and the versions of the tools that answered.

    `sources`, `trees` and `build` are as in `PlatformLock`.
    """

    text: bytes
    wheels: tuple[Wheel, ...]
    tools: Mapping[str, str]
    sources: tuple[Source, ...] = ()
    trees: tuple[LocalTree, ...] = ()
    build: tuple[Wheel, ...] = ()


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
    cache: Cache,
    progress: Progress,
    task: str,
    root: Path,
    sharing: Sharing,
    old: PlatformLock | None = None,
) -> PipSolution:
    """Resolve `spec.pip` for one platform into pins and the one wheel of each.

    `python` is the target's full version or `MAJOR.MINOR`, `glibc` its glibc (empty off Linux),
    `constraints` the distributions that conda brings: they bind, and are not in the result.
    `previous` is the earlier requirements file and `old` the platform's earlier lock, whose pins
    stay as far as `upgrade` lets them. `work` is a folder for this call alone, `task` the
    environment's name, `root` the repository that has its wheels and source trees. `sharing` has
    what was asked alike before.

    Raises `LockError`: `lock.unsatisfiable`, `lock.no-wheel`, `lock.no-hash`, `lock.index`, and
    `pip.*` where something is built or taken from the repository; and `ToolError` for a tool that
    fails in another way, its output kept below `cache.logs`.
    """
    asked = _reduce_spec(spec, python)
    elsewhere = _find_elsewhere(old)
    forgotten = frozenset(map(normalise_name, upgrade.packages))
    pins = () if previous is None else parse_pins(previous.decode("utf-8", "replace"))
    kept = () if upgrade.everything else (*pins, *_find_built(elsewhere))
    job = PipJob(
        task=NAMELESS,
        requirements=asked.pip.dependencies,
        platform=platform,
        python=python,
        glibc=glibc,
        macos=(spec.conda and spec.conda.virtual_packages.osx) or MACOS,
        constraints=constraints,
        kept=tuple(replace(p, via=()) for p in kept if p.name not in forgotten),
        upgrade=Upgrade(everything=upgrade.everything, packages=forgotten),
        indexes=find_indexes(asked, logs=cache.logs),
        work=work,
        logs=cache.logs,
        progress=progress,
        limits=asked.pip.constraints,
        overrides=asked.pip.overrides,
        before=find_cutoff(asked),
        allowed=frozenset(map(normalise_name, asked.pip.build_from_source)),
    )

    def answer(relay: Progress) -> _Answer:
        shop = Shop(spec=asked, minor=job.minor, cache=cache, progress=relay, task=NAMELESS)
        own = replace(job, progress=relay)
        return _answer(Gathering(job=own, shop=shop, root=root, old=elsewhere))

    progress.update(task, f"resolving Python packages for {platform.subdir}")
    key = make_key("pip", job.parts, asked, elsewhere)
    found = sharing.solve(key, answer, task=task, progress=progress)
    return PipSolution(
        text=render_requirements(found.pins, task=task, platform=platform.subdir),
        wheels=found.wheels,
        tools=found.tools,
        sources=found.sources,
        trees=found.trees,
        build=found.build,
    )


def _reduce_spec(spec: EnvSpec, python: str) -> EnvSpec:
    """Return all that pip's packages depend on of `spec`, in one order: no name, no image."""
    pip = spec.pip
    return EnvSpec(
        python=f"{'.'.join(python.split('.')[:2])}.*",
        exclude_newer=spec.exclude_newer,
        pip=replace(
            pip,
            dependencies=tuple(sorted(pip.dependencies)),
            constraints=tuple(sorted(pip.constraints)),
            overrides=tuple(sorted(pip.overrides)),
            build_from_source=tuple(sorted(pip.build_from_source)),
            local=tuple(sorted(pip.local)),
            without=(),
        ),
    )


def _find_elsewhere(old: PlatformLock | None) -> PlatformLock | None:
    """Return of an earlier lock what has to do with wheels that no index has; None for nothing."""
    if old is None or not (old.sources or old.trees or old.build):
        return None
    known = {source.wheel for source in old.sources}
    return PlatformLock(
        platform=old.platform, python="", glibc="", sources=old.sources, trees=old.trees,
        build=old.build, wheels=tuple(wheel for wheel in old.wheels if wheel.sha256 in known),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    """What a request comes to, whichever environment it is from; the rest is as in `PipSolution`.

    `pins` are the lines of the requirements file.
    """

    pins: tuple[Pin, ...]
    wheels: tuple[Wheel, ...]
    tools: Mapping[str, str]
    sources: tuple[Source, ...]
    trees: tuple[LocalTree, ...]
    build: tuple[Wheel, ...]


def _answer(gathering: Gathering) -> _Answer:
    """Resolve a request, and build what it takes."""
    resolver = gathering.shop.spec.pip.resolver
    job, pieces = gather(gathering)
    write_job(job)
    _warn_of_extras(job)
    offered = _offer_sources(job)
    built: dict[tuple[str, str], Piece] = {}
    while True:
        listing, tools = _resolve(job, resolver)
        # What a source needs is known once it is built, and may change the answer.
        todo = [
            (name, version) for name, version in listing.versions.items()
            if name in offered and is_marked(version) and (name, version) not in built
        ]  # fmt: skip
        if not todo:
            break
        for name, version in todo:
            piece = replace(gathering, job=job).build_sdist(name, unmark(version))
            write_stub(job.stubs, name, version, metadata=piece.contents.metadata)
            built[name, version] = piece
    pieces += [piece for key, piece in built.items() if listing.versions.get(key[0]) == key[1]]
    return _conclude(job, listing, tools, pieces)


def _find_built(old: PlatformLock | None) -> list[Pin]:
    """Return the versions of what is built from a source distribution, as resolvers know them."""
    if old is None:
        return []
    built = {source.wheel for source in old.sources if source.kind == "sdist"}
    return [Pin(name=w.name, version=mark(w.version)) for w in old.wheels if w.sha256 in built]


def _offer_sources(job: PipJob) -> frozenset[str]:
    """Write stubs of all versions that could be built, and return the names of those packages."""
    from envbuild.lock.build_sdist import list_source_versions

    names = job.allowed - job.fixed.keys() - job.brought
    offered: set[str] = set()
    for name in sorted(names):
        for version in list_source_versions(job, name):
            write_stub(job.stubs, name, mark(version))
            offered.add(name)
    return frozenset(offered)


def _conclude(
    job: PipJob, listing: Listing, tools: Iterable[str], pieces: Iterable[Piece]
) -> _Answer:
    """Put what the indexes have and what comes from elsewhere together."""
    elsewhere = sorted(pieces, key=lambda piece: piece.name)
    wheels = choose_wheels(job, listing)
    reasons = find_reasons(job, listing.versions)
    pins = [
        Pin(name=w.name, version=w.version, hashes=(w.sha256,), via=reasons.get(w.name, ()))
        for w in wheels
    ]
    pins += [
        Pin(name=p.name, version=p.contents.wheel.version, via=reasons.get(p.name, ()), note=p.note)
        for p in elsewhere
    ]
    wheels += [piece.contents.wheel for piece in elsewhere if piece.source]
    build = {wheel.sha256: wheel for piece in elsewhere for wheel in piece.requires}
    return _Answer(
        pins=tuple(pins),
        wheels=tuple(sorted(wheels, key=lambda wheel: wheel.name)),
        tools=_find_versions(tools),
        sources=tuple(piece.source for piece in elsewhere if piece.source),
        trees=tuple(piece.tree for piece in elsewhere if piece.tree),
        build=tuple(sorted(build.values(), key=lambda wheel: wheel.filename)),
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
        return stay_with_uv(job)
    except ToolExitError as error:
        found = explain_resolution(error, job)
        if found is None:
            raise
        raise found from error


def _ask_pip_tools(job: PipJob) -> tuple[Listing | None, str]:
    """Return pip-compile's answer, or None and why it doesn't hold on the target."""
    ahead: list[Listing] = []

    def look_ahead() -> None:
        # uv nearly always chooses alike, and is done long before: then it has listed the wheels.
        try:
            ahead.append(stay_with_uv(job))
        except ToolExitError as error:
            error.log.unlink(missing_ok=True)

    versions: Mapping[str, str] = {}

    def compile_() -> None:
        nonlocal versions
        versions = resolve_with_pip_tools(job)

    try:
        run_crew(lambda work, _: work(), (compile_, look_ahead), threads=2)
    except ToolExitError as error:
        if error.returncode < 0:
            raise
        if broken := find_broken_index(job.indexes, job.requested):
            raise broken from error
        if fault := explain_fault(error.output, job.task):
            raise fault from error  # uv looks at fewer hashes
        # uv explains the same impossibility in sentences, where pip prints a traceback.
        return None, f"pip-compile found no answer (`{error.log}`)"
    if ahead and ahead[0].versions == versions:
        return ahead[0], ""
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


def _find_versions(tools: Iterable[str]) -> dict[str, str]:
    from importlib.metadata import version

    return {tool: version(tool) for tool in tools}
