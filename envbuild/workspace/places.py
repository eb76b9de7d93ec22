"""Finds which manager an environment has a package of, or is to have it of."""

from __future__ import annotations

from collections.abc import Sequence

from envbuild.errors import LockError, SpecError
from envbuild.lock.files import read_siblings
from envbuild.spec.edit import MANAGERS, Manager, find_name, find_requirements
from envbuild.spec.keys import find_nearest
from envbuild.spec.model import EnvSpec
from envbuild.workspace.workspace import Workspace

__all__ = ["choose_manager", "find_manager", "list_requirements"]


def list_requirements(spec: EnvSpec, manager: Manager) -> tuple[str, ...]:
    """Return what a spec asks of one manager."""
    if manager == "system":
        return spec.system.packages
    if manager == "pip":
        return spec.pip.dependencies
    return spec.conda.dependencies if spec.conda else ()


def _find_homes(spec: EnvSpec, text: str, managers: Sequence[Manager]) -> list[Manager]:
    return [
        manager for manager in managers
        if find_requirements(list_requirements(spec, manager), manager, find_name(manager, text))
    ]  # fmt: skip


def choose_manager(spec: EnvSpec, requirement: str) -> Manager:
    """Return where a requirement belongs: where its package is, else conda's if there is conda."""
    homes = _find_homes(spec, requirement, ("conda", "pip"))
    if len(homes) == 1:
        return homes[0]
    return "conda" if spec.conda is not None else "pip"


def find_manager(
    workspace: Workspace, name: str, spec: EnvSpec, package: str, manager: Manager | None
) -> Manager:
    """Return the manager that `spec`, of the environment `name`, has a package of.

    Raises `SpecError`: `spec.not-asked` if there is none, `spec.which-manager` for several.
    """
    homes = _find_homes(spec, package, (manager,) if manager else MANAGERS)
    if not homes:
        raise _refuse(workspace, name, spec, package)
    if len(homes) > 1:
        tables = " and ".join(f"`[{home}]`" for home in homes)
        raise SpecError(
            "spec.which-manager",
            f"`{package}` is in {tables} of `envs/{name}.toml`",
            hint=f"say which: `nox -s remove -- {name} --{homes[0]} {package}`",
        )
    return homes[0]


def _refuse(workspace: Workspace, name: str, spec: EnvSpec, package: str) -> SpecError:
    asked = {
        find_name(manager, text)
        for manager in MANAGERS
        for text in list_requirements(spec, manager)
    }
    message = f"`envs/{name}.toml` doesn't ask for `{package}`"
    reasons = _find_reasons(workspace, name, package)
    if reasons:
        shown = ", ".join(f"`{reason}`" for reason in reasons[:5])
        message += f"; it is locked because it is needed by {shown}"
    near = find_nearest(package, asked)
    hint = f"did you mean `{near}`?" if near else None
    return SpecError("spec.not-asked", message, hint=hint)


def _find_reasons(workspace: Workspace, name: str, package: str) -> tuple[str, ...]:
    """Return what needs a package that nobody asked for; nothing where there is no lock."""
    from envbuild.lock.dependents import find_dependents

    try:
        lock = workspace.load_lock(name)
        siblings = read_siblings(workspace.repository.lock_folder(name), lock)
    except LockError:
        return ()
    return find_dependents(siblings, package)
