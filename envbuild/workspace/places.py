"""Finds which manager an environment has a package of, or is to have it of, and in which file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from envbuild.errors import LockError, SpecError
from envbuild.lock.files import read_siblings
from envbuild.spec.chain import Source, find_chain
from envbuild.spec.edit import MANAGERS, Manager, find_name, find_requirements, list_key
from envbuild.spec.keys import find_nearest
from envbuild.spec.load import finder
from envbuild.spec.model import EnvSpec
from envbuild.workspace.workspace import Workspace

__all__ = ["choose_manager", "find_manager", "find_parent", "open_chain"]


def choose_manager(spec: EnvSpec, requirement: str) -> Manager:
    """Return where a requirement belongs: where its package is, else conda's if there is conda."""
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
) -> Manager:
    """Return the manager that the file of the environment `name`, the last of `chain`, asks.

    Raises `SpecError`: `spec.not-asked` if it asks none, `spec.inherited` if only what it extends
    does, `spec.which-manager` if it asks several.
    """
    managers = (manager,) if manager else MANAGERS
    homes = [home for home in managers if _has(_list(chain[-1], home), home, package)]
    if len(homes) > 1:
        tables = " and ".join(f"`[{home}]`" for home in homes)
        raise SpecError(
            "spec.which-manager",
            f"`{package}` is in {tables} of `envs/{name}.toml`",
            hint=f"say which: `nox -s remove -- {name} --{homes[0]} {package}`",
        )
    if homes:
        return homes[0]
    for home in managers:
        if (parent := find_parent(chain, package, home)) is not None:
            raise SpecError(
                "spec.inherited",
                f"`{package}` is asked for by `{parent}`, which `envs/{name}.toml` stands on",
                hint=f'to leave it out of `{name}` alone, write `without = ["{package}"]` under '
                f"`[{home}]` in `envs/{name}.toml`",
            )
    raise _refuse(workspace, name, chain, package)


def find_parent(chain: Sequence[Source], package: str, manager: Manager) -> str | None:
    """Return the nearest file below the last of `chain` that asks `manager` for a package."""
    for source in reversed(chain[:-1]):
        if _has(_list(source, manager), manager, package):
            return source.where
    return None


def _list(source: Source, manager: Manager) -> tuple[str, ...]:
    """Return what one file asks of a manager."""
    found: Any = source.table
    for key in list_key(manager):
        found = found.get(key) if isinstance(found, Mapping) else None
    return tuple(found or ())


def _refuse(workspace: Workspace, name: str, chain: Sequence[Source], package: str) -> SpecError:
    message = f"`envs/{name}.toml` doesn't ask for `{package}`"
    reasons = _find_reasons(workspace, name, package)
    if reasons:
        shown = ", ".join(f"`{reason}`" for reason in reasons[:5])
        message += f"; it is locked because it is needed by {shown}"
    near = find_nearest(package, dict.fromkeys(_list_names(chain[-1])))
    hint = f"did you mean `{near}`?" if near else None
    return SpecError("spec.not-asked", message, hint=hint)


def _list_names(source: Source) -> Iterator[str]:
    for manager in MANAGERS:
        yield from (find_name(manager, text) for text in _list(source, manager))


def _find_reasons(workspace: Workspace, name: str, package: str) -> tuple[str, ...]:
    """Return what needs a package that nobody asked for; nothing where there is no lock."""
    from envbuild.lock.dependents import find_dependents

    try:
        lock = workspace.load_lock(name)
        siblings = read_siblings(workspace.repository.lock_folder(name), lock)
    except LockError:
        return ()
    return find_dependents(siblings, package)
