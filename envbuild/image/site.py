"""Where images are made: this machine's cache, the repository's settings, who hears of progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from envbuild.image.origins import Origins
from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.oci.store import Store
from envbuild.spec.settings import Settings

if TYPE_CHECKING:
    from envbuild.oci.registry import Registry

__all__ = ["Site"]


@dataclass(frozen=True, kw_only=True)
class Site:
    """Everything around a recipe that must not matter to what comes out.

    With `fresh`, nothing that was made before is used again: no layer of the cache, none of the
    registry, no byte code. With `verbose`, each piece of work is noted as it is done. With
    `thorough`, a layer that can't be made doesn't end the making of the others.
    """

    cache: Cache
    settings: Settings
    progress: Progress
    fresh: bool = False
    verbose: bool = False
    thorough: bool = False
    renewed: set[str] = field(default_factory=set)
    """Keys of the layers that were made here: with `fresh` too, they aren't made twice."""

    def say(self, line: str) -> None:
        """Note a detail, if anybody wants to know."""
        if self.verbose:
            self.progress.note(line)

    @cached_property
    def store(self) -> Store:
        """The machine's content store."""
        return Store(self.cache.store)

    @cached_property
    def origins(self) -> Origins:
        """What is known of blobs in registries."""
        return Origins(self.cache.origins)

    def open_registry(self, host: str) -> Registry:
        """Return the registry `host`, reached as the settings say; nothing is sent yet."""
        from envbuild.oci.registry import open_registry
        from envbuild.spec.registries import find_registry_options

        return open_registry(host, options=find_registry_options(self.settings, host))
