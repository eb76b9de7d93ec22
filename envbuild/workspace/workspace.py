"""A repository that uses envbuild, with its settings and this machine's cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from envbuild.errors import SpecError
from envbuild.kit.places import Cache, Repository, find_cache
from envbuild.lock.files import load_lock
from envbuild.lock.freshness import check_fresh
from envbuild.spec.curated import RESERVED, find_curated
from envbuild.spec.load import (
    find_environments,
    finder,
    load_curated,
    load_spec,
    parse_spec,
)
from envbuild.spec.settings import Settings, load_settings

if TYPE_CHECKING:
    from envbuild.image.site import Site
    from envbuild.kit.progress import Progress
    from envbuild.lock.model import Lock
    from envbuild.spec.model import EnvSpec

__all__ = ["Workspace", "find_root"]

_MARKS: Final = ("noxfile.py", "envs")
"""What the root of a repository has that uses envbuild."""


def find_root(folder: Path) -> Path:
    """Return the nearest folder, from `folder` upwards, that uses envbuild; else `folder`."""
    places = (folder, *folder.parents)
    return next((p for p in places if any((p / mark).exists() for mark in _MARKS)), folder)


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A repository by its root and, read when first asked for, what it says."""

    root: Path
    repository: Repository = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "repository", Repository(root=self.root))

    @cached_property
    def settings(self) -> Settings:
        return load_settings(self.root)

    def check_settings(self) -> None:
        """Raise `SpecError` `settings.invalid` for settings that are wrong, once for all."""
        _ = self.settings

    @cached_property
    def cache(self) -> Cache:
        return find_cache()

    def make_site(
        self,
        progress: Progress,
        *,
        fresh: bool = False,
        verbose: bool = False,
        thorough: bool = False,
    ) -> Site:
        """Return where images are made; the options are those of `Site`."""
        from envbuild.image.site import Site

        return Site(
            cache=self.cache, settings=self.settings, progress=progress, fresh=fresh,
            verbose=verbose, thorough=thorough,
        )  # fmt: skip

    @cached_property
    def environments(self) -> tuple[str, ...]:
        """Names of all environments in `envs/`, without those that come with envbuild."""
        return find_environments(self.root)

    @cached_property
    def used(self) -> tuple[str, ...]:
        """`environments`, and those that come with envbuild and have a lock here."""
        locked = (n for n in find_curated() if self.repository.lock_folder(n).is_dir())
        return tuple(dict.fromkeys((*self.environments, *locked)))

    def select(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the environments that were named, each once; for none, all that are `used`.

        A path to a spec is its name, too. Raises `SpecError` `spec.missing` for an unknown name.
        """
        found = tuple(dict.fromkeys(map(self.find_name, names)))
        for name in found:
            self.check_known(name)
        return found if names else self.used

    def find_name(self, text: str) -> str:
        """Return the name of the environment whose spec is at the path `text`, else `text`."""
        name = Path(text).stem
        if not text.endswith(".toml") or name not in self.environments:
            return text
        home = self.repository.spec_file(name).parent.resolve()
        places = (folder / text for folder in (Path.cwd(), self.root))
        return name if any(place.parent.resolve() == home for place in places) else text

    def load(self, name: str) -> EnvSpec:
        """Return the spec of an environment; raises what `load_spec` raises."""
        if name.startswith(RESERVED) and name not in self.environments:
            return load_curated(name, root=self.root)
        return load_spec(self.repository.spec_file(name))

    def parse(self, name: str, data: bytes) -> EnvSpec:
        """Return what the spec of an environment would say if its file held `data`."""
        return parse_spec(data, where=f"envs/{name}.toml", find=finder(self.root))

    def load_lock(self, name: str) -> Lock:
        """Return the lock of an environment; raises what `lock.files.load_lock` raises."""
        return load_lock(self.repository.lock_folder(name), name=name, cache=self.cache)

    def load_fresh(self, name: str) -> tuple[EnvSpec, Lock]:
        """Return an environment's spec and lock; raises `LockError` `lock.stale`, among others."""
        spec, lock = self.load(name), self.load_lock(name)
        check_fresh(spec, lock, name=name, root=self.root)
        return spec, lock

    def check_known(self, name: str, origin: str = "") -> None:
        """Raise `SpecError` `spec.missing` if there is no such environment.

        `origin` follows in the message and says who named it.
        """
        curated = find_curated() if name.startswith(RESERVED) else ()
        if name in (*self.environments, *curated):
            return
        bare = name.removesuffix(".toml").rpartition("/")[2]
        near = get_close_matches(bare, (*self.environments, *curated), n=1)
        known = ", ".join(f"`{n}`" for n in (*self.environments, *curated)) or "none"
        what = f"`envs/{name}.toml`" if bare == name else f"environment `{name}`"
        if curated:
            what = f"environment `{name}` that comes with envbuild"
        raise SpecError(
            "spec.missing",
            f"there is no {what}{origin}",
            hint=f"did you mean `{near[0]}`?" if near else f"the environments are: {known}",
        )
