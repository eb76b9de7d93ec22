"""Puts an environment's image into Docker Engine, for the sessions that run something in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envbuild.image.blobs import ensure_whole
from envbuild.image.ensure import ensure_image
from envbuild.image.plan import ImagePlan
from envbuild.kit.progress import Progress
from envbuild.sessions.context import Context

if TYPE_CHECKING:
    from envbuild.engine.client import Engine

__all__ = ["ReadyImage", "open_image"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyImage:
    """An image that the engine has: the ID to run it by, its manifest, its Python's path."""

    engine: Engine
    image_id: str
    manifest: str
    python: str


@contextlib.contextmanager
def open_image(context: Context, image: ImagePlan, progress: Progress) -> Iterator[ReadyImage]:
    """Give the image, built and loaded if need be, and the engine while the block runs.

    What an earlier process left in the engine when it was killed is removed first.
    """
    from envbuild.engine.client import connect_engine
    from envbuild.engine.leftovers import reap_leftovers
    from envbuild.engine.load import ensure_loaded

    site = context.make_site(progress)
    with connect_engine() as engine:
        reap_leftovers(engine)
        manifest = ensure_image(site, image).manifest
        ensure_whole(site, manifest, task=image.name)
        loaded = ensure_loaded(
            engine,
            layout=site.store.root,
            manifest_digest=manifest.digest,
            name=image.reference,
            progress=progress,
            task=image.name,
        )
        yield ReadyImage(
            engine=engine,
            image_id=loaded.image_id,
            manifest=manifest.digest,
            python=_find_python(image),
        )


def _find_python(image: ImagePlan) -> str:
    recipe = image.recipe
    return f"{recipe.prefix}/bin/python" if recipe.managed else recipe.interpreter
