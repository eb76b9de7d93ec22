"""Locks small specs against the tests' conda channel: what every test of conda locking does."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from envbuild.kit.places import Cache
from envbuild.lock.conda import CondaSolution, solve_conda
from envbuild.lock.conda_client import child_command
from envbuild.lock.model import CondaPackage
from envbuild.lock.sharing import Sharing
from envbuild.lock.upgrade import Upgrade
from envbuild.spec.model import Conda, EnvSpec, PlatformConda, PlatformExtra, VirtualPackages
from envbuild.spec.settings import Settings
from tests.rig.conda_channel import CondaChannel
from tests.rig.conda_python import MINOR

__all__ = ["Notes", "Solver", "versions", "write_conda_by_name", "write_own_conda"]


@dataclass(slots=True)
class Notes:
    """A `Progress` that keeps what it was told."""

    doings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def update(self, task: str, doing: str, done: int = 0, total: int = 0) -> None:
        self.doings.append(f"{task}: {doing}")

    def finish(self, task: str, outcome: str) -> None:
        """Nothing here finishes a task."""

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass(kw_only=True, slots=True)
class Solver:
    """Locks with everything a test doesn't care about filled in; each lock has a folder anew."""

    folder: Path
    settings: Settings
    progress: Notes = field(default_factory=Notes)

    @classmethod
    def on(cls, channel: CondaChannel, folder: Path) -> Solver:
        """Return one for which `channel` stands in for conda-forge."""
        return cls(folder=folder, settings=Settings(mirrors=channel.mirrors))

    def with_conda(self, executable: str) -> Solver:
        return replace(self, settings=replace(self.settings, conda=executable))

    @property
    def cache(self) -> Cache:
        return Cache(root=self.folder)

    @property
    def logs(self) -> Path:
        return self.cache.logs

    def lock(
        self,
        *dependencies: str,
        platforms: Sequence[str] = ("linux-64",),
        channels: Sequence[str] = ("conda-forge",),
        python: str | None = None,
        previous: CondaSolution | bytes | None = None,
        upgrade: Upgrade | None = None,
        machine: VirtualPackages | None = None,
        before: str | None = None,
        single: Mapping[str, tuple[str, ...]] | None = None,
    ) -> CondaSolution:
        """`single` are dependencies of single platforms."""
        self.folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="work-", dir=self.folder))
        conda = Conda(
            channels=tuple(channels),
            dependencies=dependencies,
            virtual_packages=machine or VirtualPackages(),
        )
        return solve_conda(
            EnvSpec(
                platforms=tuple(platforms),
                python=python or f"{MINOR}.*",
                exclude_newer=before,
                conda=conda,
                platform={
                    name: PlatformExtra(conda=PlatformConda(dependencies=texts))
                    for name, texts in (single or {}).items()
                },
            ),
            previous=previous.text if isinstance(previous, CondaSolution) else previous,
            upgrade=upgrade or Upgrade(),
            work=work,
            settings=self.settings,
            cache=self.cache,
            progress=self.progress,
            task="cpu",
            sharing=Sharing(),
        )


def versions(packages: Sequence[CondaPackage]) -> dict[str, str]:
    """Return what is in a lock, as name to version; Python itself left out."""
    return {p.name: p.version for p in packages if p.name != "python"}


def write_own_conda(path: Path, *, pipe: str = "") -> str:
    """Write a program as a user may name in the settings: it hands every call to the front.

    `pipe` is a shell command that the output goes through.
    """
    command = shlex.join(child_command("envbuild.lock.conda_front"))
    end = f" | {pipe}" if pipe else ""
    path.write_text(f'#!/bin/sh\n{command} "$@"{end}\n')
    path.chmod(0o755)
    return str(path)


_BY_NAME = """\
import sys
from conda_lock._vendor.conda.base.context import reset_context
from conda_lock._vendor.conda.models.channel import Channel
from envbuild.lock.conda_front import main
arguments = sys.argv[1:]
reset_context()
for number, word in enumerate(arguments):
    if arguments[number - 1] == "--channel" and "://" not in word:
        arguments[number] = Channel(word).urls(with_credentials=True, subdirs=["x"])[0][:-2]
main(arguments)
"""


def write_conda_by_name(path: Path) -> str:
    """Write a conda that finds channels by conda's own code: names, `CONDARC`, variables in it."""
    script = path.with_suffix(".py")
    script.write_text(_BY_NAME)
    command = shlex.join([sys.executable, str(script)])
    path.write_text(f'#!/bin/sh\n{command} "$@"\n')
    path.chmod(0o755)
    return str(path)
