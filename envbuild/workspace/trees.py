"""Builds the repository's own source trees for an image, or editable for this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from envbuild.image.plan import BuildTrees, ImagePlan
from envbuild.kit.progress import Progress, Silent
from envbuild.lock.model import PlatformLock, Wheel
from envbuild.workspace.workspace import Workspace

if TYPE_CHECKING:
    from envbuild.spec.model import EnvSpec

__all__ = ["make_editable", "tree_builder"]


def tree_builder(
    workspace: Workspace,
    name: str,
    spec: EnvSpec,
    *,
    progress: Progress | None = None,
    editable: bool = False,
) -> BuildTrees:
    """Return what builds the source trees of environment `name`; loads nothing until it must."""

    def build(lock: PlatformLock) -> tuple[Wheel, ...]:
        from envbuild.lock.provenance import Shop
        from envbuild.lock.source_tree import build_trees

        shop = Shop(
            spec=spec, minor=lock.python_minor, cache=workspace.cache,
            progress=progress or Silent(), task=name,
        )  # fmt: skip
        built = build_trees(lock, root=workspace.root, shop=shop, editable=editable)
        return tuple(wheel for wheel, _ in built)

    return build


def make_editable(workspace: Workspace, image: ImagePlan, progress: Progress) -> ImagePlan:
    """Return the plan with wheels that point into the source trees, so that edits count at once.

    Only for a prefix of this machine: the digests stay those of the trees' contents.
    """
    if image.provenance is None or not image.recipe.local:
        return image
    builder = tree_builder(workspace, image.name, image.spec, progress=progress, editable=True)
    return replace(image, recipe=replace(image.recipe, local=builder(image.provenance.lock)))
