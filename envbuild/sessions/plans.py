"""Names what a session works on: an environment's image by its spec and its fresh lock."""

from __future__ import annotations

from envbuild.errors import SpecError
from envbuild.image.plan import EnvironmentPlan, ImagePlan, plan_environment, plan_platform
from envbuild.kit.progress import Progress
from envbuild.lock.files import load_lock
from envbuild.lock.freshness import check_fresh
from envbuild.sessions.context import Context
from envbuild.sessions.trees import tree_builder
from envbuild.spec.platforms import Platform, find_host_platform

__all__ = ["find_platform", "plan_named", "plan_one"]


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


def plan_named(context: Context, name: str, progress: Progress | None = None) -> EnvironmentPlan:
    """Return the image that the environment's lock asks for; refuses a stale lock."""
    spec = context.load(name)
    lock = load_lock(context.repository.lock_folder(name), name=name, cache=context.cache)
    check_fresh(spec, lock, name=name, root=context.root)
    trees = tree_builder(context, name, spec, progress=progress)
    return plan_environment(
        name, spec, lock, settings=context.settings, root=context.root, trees=trees
    )


def plan_one(context: Context, name: str, platform: Platform) -> ImagePlan:
    """Return one platform's image, or its environment alone where there can be no image."""
    if platform.has_image:
        return plan_named(context, name).find(platform)
    spec = context.load(name)
    lock = load_lock(context.repository.lock_folder(name), name=name, cache=context.cache)
    check_fresh(spec, lock, name=name, root=context.root)
    trees = tree_builder(context, name, spec)
    return plan_platform(
        name, spec, lock, platform=platform, settings=context.settings, root=context.root,
        trees=trees,
    )  # fmt: skip
