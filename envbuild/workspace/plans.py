"""Names what is worked on: an environment's image by its spec and its fresh lock."""

from __future__ import annotations

from envbuild.errors import SpecError
from envbuild.image.plan import EnvironmentPlan, ImagePlan, plan_environment, plan_platform
from envbuild.kit.progress import Progress
from envbuild.spec.platforms import PLATFORMS, Platform, find_host_platform
from envbuild.workspace.trees import tree_builder
from envbuild.workspace.workspace import Workspace

__all__ = ["find_host", "find_platform", "plan_named", "plan_one"]


def find_host() -> Platform:
    """Return this machine's own platform; raises `SpecError` `image.host` if it is unknown."""
    host = find_host_platform()
    if host is None:
        raise SpecError(
            "image.host",
            "envbuild doesn't know this machine's platform",
            hint=f"it knows {', '.join(f'`{p}`' for p in PLATFORMS)}",
        )
    return host


def find_platform() -> Platform:
    """Return the platform that this machine's containers have."""
    host = find_host_platform()
    if host is None or not host.has_image:
        raise SpecError(
            "image.host",
            "this machine can't run images of its own kind",
            hint="run without a container: `nox -s train -- NAME --target local`",
        )
    return host


def plan_named(
    workspace: Workspace, name: str, progress: Progress | None = None
) -> EnvironmentPlan:
    """Return the image that the environment's lock asks for; refuses a stale lock."""
    spec, lock = workspace.load_fresh(name)
    trees = tree_builder(workspace, name, spec, progress=progress)
    return plan_environment(
        name, spec, lock, settings=workspace.settings, root=workspace.root, trees=trees
    )


def plan_one(workspace: Workspace, name: str, platform: Platform) -> ImagePlan:
    """Return one platform's image, or its environment alone where there can be no image."""
    if platform.has_image:
        return plan_named(workspace, name).find(platform)
    spec, lock = workspace.load_fresh(name)
    trees = tree_builder(workspace, name, spec)
    return plan_platform(
        name, spec, lock, platform=platform, settings=workspace.settings, root=workspace.root,
        trees=trees,
    )  # fmt: skip
