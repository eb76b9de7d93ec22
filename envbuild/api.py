"""envbuild for scripts: a repository, its environments, and what the sessions do with them.

`docs/api.md` has examples of all of it. Errors are those of the sessions, `EnvbuildError` with a
code that `docs/errors.md` explains. Values are frozen; nothing is remembered between calls, so
each looks at the files as they are then.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from envbuild.errors import EnvbuildError, LockError, Problem, SpecError
from envbuild.image.plan import EnvironmentPlan, ImagePlan
from envbuild.kit.progress import Progress, Silent
from envbuild.lock.changes import Change
from envbuild.lock.model import Lock
from envbuild.lock.upgrade import Upgrade
from envbuild.spec.edit import Manager
from envbuild.spec.formats import MOMENT
from envbuild.spec.model import EnvSpec
from envbuild.workspace.building import Built, build_one, find_built
from envbuild.workspace.editing import Edited, Wish, add_all, remove_all, save_spec
from envbuild.workspace.locking import lock_one
from envbuild.workspace.plans import plan_named
from envbuild.workspace.workspace import Workspace, find_root

__all__ = [
    "Built",
    "Change",
    "Edited",
    "EnvSpec",
    "EnvbuildError",
    "Environment",
    "EnvironmentPlan",
    "ImagePlan",
    "Lock",
    "LockError",
    "Problem",
    "Progress",
    "Repository",
    "SpecError",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """A repository that uses envbuild; `progress` hears what long work is doing."""

    root: Path
    progress: Progress = field(default_factory=Silent, compare=False)

    @classmethod
    def open(
        cls, folder: str | os.PathLike[str] = ".", *, progress: Progress | None = None
    ) -> Repository:
        """Return the repository that `folder` is in: the nearest with `noxfile.py` or `envs/`."""
        root = find_root(Path(folder).resolve())
        return cls(root=root, progress=progress if progress is not None else Silent())

    @property
    def environments(self) -> tuple[Environment, ...]:
        """All environments in `envs/`, sorted by name; their specs need not be right."""
        names = self.workspace.environments
        return tuple(Environment(repository=self, name=name) for name in names)

    def environment(self, name: str) -> Environment:
        """Return one environment; raises `SpecError` `spec.missing` if there is none."""
        self.workspace.check_known(name)
        return Environment(repository=self, name=name)

    @property
    def workspace(self) -> Workspace:
        """The repository as envbuild's own functions take it, with its settings read anew."""
        return Workspace(root=self.root)


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """One environment of a repository: its spec, its lock and its image."""

    repository: Repository
    name: str

    @property
    def spec_file(self) -> Path:
        """Where its spec is: `envs/NAME.toml`."""
        return self._workspace.repository.spec_file(self.name)

    def load(self) -> EnvSpec:
        """Return its spec; raises `SpecError` with all problems that it has."""
        return self._workspace.load(self.name)

    def problems(self, text: str | None = None) -> tuple[Problem, ...]:
        """Return what is wrong with its spec, or would be if its file held `text`."""
        try:
            if text is None:
                self.load()
            else:
                self._workspace.parse(self.name, text.encode())
        except SpecError as error:
            whole = Problem(key="", message=error.message)
            return error.problems if error.code == "spec.invalid" else (whole,)
        return ()

    def save(self, text: str, *, lock: bool = False) -> Edited:
        """Write `text` as its spec, if it is right, and with `lock` once it can be locked.

        Raises `SpecError` for a text that is not right, and with `lock` what `lock` raises; the
        files are then as they were.
        """
        return save_spec(
            self._workspace, self.name, text.encode(), lock=lock, progress=self._progress
        )

    def add(
        self,
        *requirements: str,
        conda: Sequence[str] = (),
        pip: Sequence[str] = (),
        system: Sequence[str] = (),
        platforms: Sequence[str] = (),
        lock: bool = True,
    ) -> Edited:
        """Add requirements, in place of those of the same names, and lock; both or nothing.

        Those without a manager go where their package is, else to conda if the spec has it, else
        to pip; with `platforms`, only those get them. Raises `SpecError` for a requirement, or a
        spec with it, that is not right, `spec.platform` for a platform that the environment isn't
        for, and what `lock` raises.
        """
        wishes = _list_wishes(requirements, platforms, conda=conda, pip=pip, system=system)
        return add_all(self._workspace, self.name, wishes, lock=lock, progress=self._progress)

    def remove(
        self,
        *packages: str,
        conda: Sequence[str] = (),
        pip: Sequence[str] = (),
        system: Sequence[str] = (),
        platforms: Sequence[str] = (),
        lock: bool = True,
    ) -> Edited:
        """Remove packages by their names, in any spelling, and lock; both or nothing.

        With `platforms`, those that only these get. Raises `SpecError` `spec.not-asked` for one
        that isn't asked for, `spec.which-manager` for one that several managers are asked for, and
        otherwise what `add` raises.
        """
        wishes = _list_wishes(packages, platforms, conda=conda, pip=pip, system=system)
        return remove_all(self._workspace, self.name, wishes, lock=lock, progress=self._progress)

    def lock(
        self,
        *,
        upgrade: bool = False,
        base: bool = False,
        packages: Iterable[str] = (),
        exclude_newer: str | None = None,
    ) -> tuple[Change, ...]:
        """Make its lock as its spec asks, if it isn't so already; return what moved.

        With `upgrade` everything moves that may, with `base` its base, and `packages` are those
        that move alone; with `exclude_newer`, a day or time as in specs, nothing is seen that was
        published later. Raises `LockError`, `RegistryError` or `ToolError`, the lock is then as it
        was; and `ValueError` for a day that is none.
        """
        if isinstance(packages, str):
            packages = (packages,)
        if exclude_newer is not None and (wrong := MOMENT.check(exclude_newer)):
            raise ValueError(wrong)
        wanted = Upgrade(
            everything=upgrade, base=base, packages=frozenset(packages), before=exclude_newer
        )
        return lock_one(self._workspace, self.name, wanted, self._progress)

    def load_lock(self) -> Lock:
        """Return its lock; raises `LockError` if there is none, or somebody edited it."""
        return self._workspace.load_lock(self.name)

    def check(self) -> None:
        """Raise `SpecError` or `LockError` unless its lock is up to date; no network, no solve."""
        self._workspace.load_fresh(self.name)

    def plan(self) -> EnvironmentPlan:
        """Return the image that its lock asks for: digests by platform, tag and reference.

        Raises what `check` raises. Source trees of the repository are built, for they are part of
        the digest; otherwise nothing is.
        """
        return plan_named(self._workspace, self.name, self._progress)

    def find(self) -> Built | None:
        """Return its image if this machine has it; None if there is something to do, or to mend."""
        workspace = self._workspace
        return find_built(workspace, self.name, workspace.make_site(self._progress))

    def build(self, *, push: bool = False, load: bool = False) -> Built:
        """Make sure that its image is there; with `push` in its registry, with `load` in Docker.

        Raises what `plan` raises, `ImageError`, `RegistryError` and `EngineError`.
        """
        workspace = self._workspace
        site = workspace.make_site(self._progress)
        plan = plan_named(workspace, self.name, self._progress)
        return build_one(plan, site, push=push, load=load)

    @property
    def _workspace(self) -> Workspace:
        return self.repository.workspace

    @property
    def _progress(self) -> Progress:
        return self.repository.progress


def _list_wishes(
    texts: Sequence[str],
    platforms: Sequence[str],
    *,
    conda: Sequence[str],
    pip: Sequence[str],
    system: Sequence[str],
) -> list[Wish]:
    managed: list[tuple[Manager | None, Sequence[str]]] = [
        (None, texts), ("conda", conda), ("pip", pip), ("system", system)
    ]  # fmt: skip
    return [
        Wish(text=text, manager=manager, platform=platform)
        for platform in platforms or (None,)
        for manager, named in managed
        for text in named
    ]
