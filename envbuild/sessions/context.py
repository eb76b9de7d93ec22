"""What every session works with: its arguments, the repository, settings, cache and store."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from envbuild.errors import SpecError
from envbuild.kit.places import Cache, Repository, find_cache
from envbuild.spec.load import find_environments, load_spec
from envbuild.spec.settings import Settings, load_settings

if TYPE_CHECKING:
    from envbuild.image.site import Site
    from envbuild.kit.progress import Progress
    from envbuild.spec.model import EnvSpec

__all__ = ["Context", "make_parser"]


@dataclass(frozen=True, kw_only=True)
class Context:
    """One session's arguments and, read when first asked for, what the repository says."""

    name: str
    root: Path
    arguments: tuple[str, ...]
    call: str
    """How it was called: what stands before the arguments."""
    repository: Repository = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "repository", Repository(root=self.root))

    @cached_property
    def settings(self) -> Settings:
        return load_settings(self.root)

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
        """Names of all environments in `envs/`."""
        return find_environments(self.root)

    def select(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the environments that were named, each once; all of them for none."""
        if not names:
            if not self.environments:
                raise SpecError(
                    "spec.none",
                    "there is no environment in `envs/`",
                    hint="write `envs/NAME.toml`; envbuild's `docs/spec.md` says what goes in",
                )
            return self.environments
        for name in names:
            self._check_known(name)
        return tuple(dict.fromkeys(names))

    def select_one(self, name: str | None) -> str:
        """Return the environment that was named, else the repository's default or only one."""
        if name is not None:
            self._check_known(name)
            return name
        if self.settings.default_environment is not None:
            origin = ", the `default-environment` of `pyproject.toml`"
            self._check_known(self.settings.default_environment, origin)
            return self.settings.default_environment
        names = self.select(())
        if len(names) == 1:
            return names[0]
        known = ", ".join(f"`{n}`" for n in names)
        raise SpecError(
            "session.which",
            f"`nox -s {self.name}` needs the name of an environment (there are: {known})",
            hint=f"run `nox -s {self.name} -- NAME`, or set `default-environment` under "
            "`[tool.envbuild]` in `pyproject.toml`",
        )

    def load(self, name: str) -> EnvSpec:
        return load_spec(self.repository.spec_file(name))

    def _check_known(self, name: str, origin: str = "") -> None:
        if name in self.environments:
            return
        near = get_close_matches(name, self.environments, n=1)
        known = ", ".join(f"`{n}`" for n in self.environments) or "none"
        raise SpecError(
            "spec.missing",
            f"there is no `envs/{name}.toml`{origin}",
            hint=f"did you mean `{near[0]}`?" if near else f"the environments are: {known}",
        )


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors of ours, not an exit."""

    def error(self, message: str) -> NoReturn:
        raise SpecError(
            "session.arguments",
            f"`{self.prog.removesuffix(' --')}`: {message}",
            hint=f"to see what it takes, run `{self.prog} --help`",
        )


def make_parser(context: Context, description: str) -> argparse.ArgumentParser:
    """Return a parser whose help shows the session as it is called."""
    return _Parser(prog=context.call, description=description, allow_abbrev=False)
