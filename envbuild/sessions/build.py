"""`nox -s build-env`: makes sure that each environment's image is there, and does no work else."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from envbuild.errors import EnvbuildError, SpecError
from envbuild.image.ensure import Ensured, ensure_environment, ensure_image, find_environment
from envbuild.image.plan import EnvironmentPlan, ImagePlan, plan_environment, plan_platform
from envbuild.image.push import Pushed, ensure_pushed
from envbuild.image.site import Site
from envbuild.lock.files import load_lock
from envbuild.lock.freshness import check_fresh
from envbuild.oci.descriptor import Descriptor
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import show_progress
from envbuild.sessions.many import run_many
from envbuild.sessions.trees import tree_builder
from envbuild.spec.platforms import Platform, find_host_platform

__all__ = ["Built", "build_one", "find_platform", "plan_named", "plan_one", "run"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """An image that is there now, and what it took."""

    plan: EnvironmentPlan
    manifest: Descriptor | None
    """None where the registry has it and this machine doesn't need it."""
    outcome: str


def run(context: Context) -> None:
    """Build, and with `--push` push, the named environments (default: all)."""
    parser = make_parser(
        context, "Build the image of each environment that isn't there yet; all by default."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="environment in `envs/`")
    parser.add_argument("--push", action="store_true", help="push to the configured registry")
    parser.add_argument("--load", action="store_true", help="load into Docker Engine")
    parser.add_argument(
        "--no-cache", action="store_true", help="make every layer anew, whoever made it before"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(context.arguments)
    names = context.select(arguments.names)

    def glance(name: str) -> Built | None:
        busy = arguments.push or arguments.load or arguments.no_cache
        return None if busy else _find_built(context, name, site)

    with show_progress() as progress:
        site = context.make_site(progress, fresh=arguments.no_cache)

        def work(name: str) -> Built:
            plan = plan_named(context, name)
            return build_one(plan, site, push=arguments.push, load=arguments.load)

        built = run_many(names, work, glance=glance, progress=progress)
    if arguments.json:
        print(json.dumps([_as_json(b) for b in built.values()], indent=2))
    else:
        for item in built.values():
            print(item.plan.reference)


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


def plan_named(context: Context, name: str) -> EnvironmentPlan:
    """Return the image that the environment's lock asks for; refuses a stale lock."""
    spec = context.load(name)
    lock = load_lock(context.repository.lock_folder(name), name=name, cache=context.cache)
    check_fresh(spec, lock, name=name, root=context.root)
    trees = tree_builder(context, name, spec)
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


def _find_built(context: Context, name: str, site: Site) -> Built | None:
    """Return the image if it is there; None if there is work to do, or an error to report."""
    try:
        plan = plan_named(context, name)
        manifest = find_environment(site, plan)
    except EnvbuildError:
        return None
    return Built(plan=plan, manifest=manifest, outcome="up to date") if manifest else None


def build_one(
    plan: EnvironmentPlan, site: Site, *, push: bool = False, load: bool = False
) -> Built:
    """Make sure that the image is where it is wanted, and say what that took."""
    start = time.monotonic()
    parts: list[str] = []
    manifest = None
    if push:
        pushed = ensure_pushed(site, plan)
        if pushed.ensured is not None:
            manifest = pushed.ensured.manifest
            parts += _say_ensured(pushed.ensured)
        parts.append(_say_pushed(pushed))
    else:
        ensured = ensure_environment(site, plan)
        manifest = ensured.manifest
        parts += _say_ensured(ensured)
    if load:
        parts.append("loaded" if _load(plan, site) else "engine has it")
    took = time.monotonic() - start
    outcome = ", ".join(parts) or "up to date"
    site.progress.finish(plan.name, f"{outcome} ({took:.1f} s)" if took > 0.1 else outcome)
    return Built(plan=plan, manifest=manifest, outcome=outcome)


def _say_ensured(ensured: Ensured) -> list[str]:
    if ensured.was_there:
        return []
    listed = f", {ensured.listed} found in the registry" if ensured.listed else ""
    return [f"assembled ({ensured.made} of {ensured.layers} layers made{listed})"]


def _say_pushed(pushed: Pushed) -> str:
    if pushed.there:
        return "registry has it"
    mounted = f", {pushed.mounted} mounted" if pushed.mounted else ""
    return f"pushed {pushed.sent} blobs, {pushed.bytes / 1e6:.1f} MB{mounted}"


def _load(plan: EnvironmentPlan, site: Site) -> bool:
    from envbuild.engine.client import connect_engine
    from envbuild.engine.load import ensure_loaded
    from envbuild.image.blobs import ensure_whole

    image = plan.find(find_platform())
    manifest = ensure_image(site, image).manifest
    ensure_whole(site, manifest, task=plan.name)
    with connect_engine() as engine:
        return ensure_loaded(
            engine, layout=site.store.root, manifest_digest=manifest.digest, name=plan.reference,
            progress=site.progress, task=plan.name,
        ).sent  # fmt: skip


def _as_json(built: Built) -> dict[str, object]:
    return {
        "environment": built.plan.name,
        "platforms": {image.recipe.platform: image.digest for image in built.plan.images},
        "reference": built.plan.reference,
        "digest": built.plan.digest,
        "manifest": built.manifest.digest if built.manifest else None,
        "outcome": built.outcome,
    }
