"""Finds which manager an environment has a package of, or is to have it of, and in which file.

`platform` means everywhere: of what that one gets beside the others; None, of what all get.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from envbuild.errors import LockError, SpecError
from envbuild.lock.files import read_siblings
from envbuild.spec.chain import Source, find_chain
from envbuild.spec.derive import narrow_spec
from envbuild.spec.edit import MANAGERS, Manager, find_name, find_requirements, list_key
from envbuild.spec.keys import find_nearest, render_key
from envbuild.spec.load import finder
from envbuild.spec.model import EnvSpec
from envbuild.spec.phrases import join_names
from envbuild.spec.platforms import PLATFORMS
from envbuild.workspace.workspace import Workspace

__all__ = [
    "check_platform",
    "choose_manager",
    "find_manager",
    "find_parent",
    "find_reasons",
    "list_own",
    "open_chain",
]


def check_platform(name: str, spec: EnvSpec, platform: str | None) -> None:
    """Raise `SpecError` `spec.platform` if the environment is not locked for a platform."""
    if platform is None or platform in spec.platforms:
        return
    has = list(spec.platforms)
    near = None if platform in PLATFORMS else find_nearest(platform, has)
    raise SpecError(
        "spec.platform",
        f"`{name}` is not for the platform `{platform}`, but for {join_names(has)}",
        hint=f"did you mean `{near}`?"
        if near
        else f"to have it for that one, too, add it to `platforms` in `envs/{name}.toml`",
    )


def choose_manager(spec: EnvSpec, requirement: str, platform: str | None = None) -> Manager:
    """Return where a requirement belongs: where its package is, else conda's if there is conda."""
    spec = spec if platform is None else narrow_spec(spec, platform)
    conda = spec.conda.dependencies if spec.conda else ()
    in_conda, in_pip = (
        _has(conda, "conda", requirement),
        _has(spec.pip.dependencies, "pip", requirement),
    )
    if in_conda != in_pip:
        return "conda" if in_conda else "pip"
    return "conda" if spec.conda is not None else "pip"


def _has(requirements: Sequence[str], manager: Manager, text: str) -> bool:
    return bool(find_requirements(requirements, manager, find_name(manager, text)))


def open_chain(workspace: Workspace, name: str, data: bytes) -> tuple[Source, ...]:
    """Return what the spec of `name`, whose file holds `data`, stands on, and itself last."""
    return find_chain(data, where=f"envs/{name}.toml", find=finder(workspace.root))


def find_manager(
    workspace: Workspace,
    name: str,
    chain: Sequence[Source],
    package: str,
    manager: Manager | None,
    platform: str | None = None,
) -> Manager:
    """Return the manager that the file of the environment `name`, the last of `chain`, asks.

    Raises `SpecError`: `spec.not-asked` if it asks none, `spec.inherited` if only what it extends
    does, `spec.which-manager` if it asks several.
    """
    managers = (manager,) if manager else MANAGERS
    homes = [home for home in managers if _has(list_own(chain[-1], home, platform), home, package)]
    if len(homes) > 1:
        tables = " and ".join(_bracket(home, platform) for home in homes)
        command = f"nox -s remove -- {name} --{homes[0]} {package}{_option(platform)}"
        raise SpecError(
            "spec.which-manager",
            f"`{package}` is in {tables} of `envs/{name}.toml`",
            hint=f"say which: `{command}`",
        )
    if homes:
        return homes[0]
    for home in managers:
        if (parent := find_parent(chain, package, home, platform)) is not None:
            raise SpecError(
                "spec.inherited",
                f"`{package}` is asked for by `{parent}`, which `envs/{name}.toml` stands on",
                hint=_advise_without(name, chain[-1], package, home)
                if platform is None
                else f"a package of one platform can't be left out: change `{parent}`",
            )
    raise _refuse(workspace, name, chain, package, platform)


def _advise_without(name: str, own: Source, package: str, manager: Manager) -> str:
    there = _list_without(own, manager)
    what = f'add `"{package}"` to `without`' if there else f'write `without = ["{package}"]`'
    return f"to leave it out of `{name}` alone, {what} under `[{manager}]` in `envs/{name}.toml`"


def _bracket(manager: Manager, platform: str | None) -> str:
    return f"`[{render_key(list_key(manager, platform)[:-1])}]`"


def _option(platform: str | None) -> str:
    return "" if platform is None else f" --platform {platform}"


def find_parent(
    chain: Sequence[Source], package: str, manager: Manager, platform: str | None = None
) -> str | None:
    """Return the nearest file below the last of `chain` that asks `manager` for a package.

    None where a file above that one leaves the package out.
    """
    for child, source in pairwise(reversed(chain)):
        if platform is None and _has(_list_without(child, manager), manager, package):
            return None
        if _has(list_own(source, manager, platform), manager, package):
            return source.where
    return None


def _list_without(source: Source, manager: Manager) -> tuple[str, ...]:
    """Return what one file leaves out of what it stands on."""
    table = source.table.get(manager)
    return tuple(table.get("without") or ()) if isinstance(table, Mapping) else ()


def list_own(source: Source, manager: Manager, platform: str | None) -> tuple[str, ...]:
    """Return what one file, without those it extends, asks of a manager."""
    found: Any = source.table
    for key in list_key(manager, platform):
        found = found.get(key) if isinstance(found, Mapping) else None
    return tuple(found or ())


def _refuse(
    workspace: Workspace, name: str, chain: Sequence[Source], package: str, platform: str | None
) -> SpecError:
    where = "" if platform is None else f" for `{platform}` alone"
    message = f"`envs/{name}.toml` doesn't ask for `{package}`{where}"
    elsewhere = [one for one in _list_platforms(chain[-1]) if _asks(chain[-1], package, one)]
    if elsewhere:
        found = (
            "all platforms" if None in elsewhere else join_names([str(one) for one in elsewhere])
        )
        command = f"nox -s remove -- {name} {package}{_option(elsewhere[0])}"
        hint = f"it does for {found}: run `{command}`"
        return SpecError("spec.not-asked", message, hint=hint)
    for manager in MANAGERS:
        if platform is None and (leaver := _find_leaver(chain, package, manager)):
            message += f"; `without` under `[{manager}]` of `{leaver}` leaves it out already"
            return SpecError("spec.not-asked", message)
    reasons = find_reasons(workspace, name, package)
    if reasons:
        message += f"; it is locked because it is needed by {reasons}"
    near = find_nearest(package, dict.fromkeys(_list_names(chain[-1], platform)))
    return SpecError("spec.not-asked", message, hint=f"did you mean `{near}`?" if near else None)


def _find_leaver(chain: Sequence[Source], package: str, manager: Manager) -> str | None:
    """Return the nearest file that leaves a package out of what it stands on."""
    leavers = (s for s in reversed(chain) if _has(_list_without(s, manager), manager, package))
    return next((source.where for source in leavers), None)


def _list_platforms(source: Source) -> tuple[str | None, ...]:
    """Return None, for all platforms, and those that the file has packages for."""
    tables = source.table.get("platform")
    return (None, *(tables if isinstance(tables, Mapping) else ()))


def _asks(source: Source, package: str, platform: str | None) -> bool:
    return any(_has(list_own(source, home, platform), home, package) for home in MANAGERS)


def _list_names(source: Source, platform: str | None) -> Iterator[str]:
    for manager in MANAGERS:
        yield from (find_name(manager, text) for text in list_own(source, manager, platform))


def find_reasons(workspace: Workspace, name: str, package: str) -> str:
    """Return what needs a package that nobody asks for, as messages name it.

    Empty where nothing does, and where there is no lock.
    """
    from envbuild.lock.dependents import find_dependents

    try:
        lock = workspace.load_lock(name)
        siblings = read_siblings(workspace.repository.lock_folder(name), lock)
    except LockError:
        return ""
    return ", ".join(f"`{reason}`" for reason in find_dependents(siblings, package)[:5])
