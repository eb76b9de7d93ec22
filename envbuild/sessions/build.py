"""`nox -s build-env`: makes sure that each environment's image is there, and does no work else."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from envbuild.errors import EnvbuildError, SpecError
from envbuild.image.ensure import (
    ImagePlan,
    Pushed,
    ensure_image,
    ensure_pushed,
    find_image,
    plan_image,
)
from envbuild.kit.progress import Progress
from envbuild.lock.files import load_lock
from envbuild.lock.freshness import check_fresh
from envbuild.oci.descriptor import Descriptor
from envbuild.oci.store import Store
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import show_progress
from envbuild.sessions.many import run_many
from envbuild.spec.platforms import Platform, find_host_platform

__all__ = ["Built", "build_one", "find_platform", "plan_environment", "run"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """An image that is there now, and what it took."""

    plan: ImagePlan
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
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(context.arguments)
    names = context.select(arguments.names)
    platform = find_platform()
    store = Store(context.cache.store)

    def work(name: str) -> Built:
        plan = plan_environment(context, name, platform)
        return build_one(context, plan, store, progress, push=arguments.push, load=arguments.load)

    def glance(name: str) -> Built | None:
        return None if arguments.push or arguments.load else _find_built(context, name, store)

    with show_progress() as progress:
        built = run_many(names, work, glance=glance, progress=progress)
    if arguments.json:
        print(json.dumps([_as_json(b) for b in built.values()], indent=2))
    else:
        for item in built.values():
            print(item.plan.reference)


def find_platform() -> Platform:
    """Return the platform that images are built for: this machine's."""
    host = find_host_platform()
    if host is None or not host.has_image:
        raise SpecError(
            "image.host",
            "images are built for the machine they are built on, and containers can't be its kind",
            hint="build on Linux (x86-64 or arm64), or run without a container: "
            "`nox -s train -- NAME --target local`",
        )
    return host


def plan_environment(context: Context, name: str, platform: Platform) -> ImagePlan:
    """Return the image that the environment's lock asks for; refuses a stale lock."""
    spec = context.load(name)
    lock = load_lock(context.repository.lock_folder(name), name=name, cache=context.cache)
    check_fresh(spec, lock, name=name)
    return plan_image(name, spec, lock, platform=platform, settings=context.settings)


def _find_built(context: Context, name: str, store: Store) -> Built | None:
    """Return the image if it is there; None if there is work to do, or an error to report."""
    try:
        plan = plan_environment(context, name, find_platform())
        manifest = find_image(plan, store)
    except EnvbuildError:
        return None
    return Built(plan=plan, manifest=manifest, outcome="up to date") if manifest else None


def build_one(
    context: Context,
    plan: ImagePlan,
    store: Store,
    progress: Progress,
    *,
    push: bool = False,
    load: bool = False,
) -> Built:
    """Make sure that the image is where it is wanted, and say what that took."""
    start = time.monotonic()
    parts: list[str] = []
    pushed = None
    if push:
        pushed = ensure_pushed(
            plan, store=store, settings=context.settings, cache=context.cache, progress=progress
        )
        parts.append(_say_pushed(pushed))
    manifest = find_image(plan, store)
    if manifest is None and not (push and not load):
        manifest, _ = ensure_image(
            plan, store=store, settings=context.settings, cache=context.cache, progress=progress
        )
        parts.insert(0, "assembled")
    if load and manifest is not None:
        parts.append("loaded" if _load(plan, manifest, store, progress) else "engine has it")
    took = time.monotonic() - start
    outcome = ", ".join(parts) or "up to date"
    progress.finish(plan.name, f"{outcome} ({took:.1f} s)" if took > 0.1 else outcome)
    return Built(plan=plan, manifest=manifest, outcome=outcome)


def _say_pushed(pushed: Pushed) -> str:
    if pushed.there:
        return "registry has it"
    return f"pushed {pushed.blobs} blobs, {pushed.bytes / 1e6:.1f} MB"


def _load(plan: ImagePlan, manifest: Descriptor, store: Store, progress: Progress) -> bool:
    from envbuild.engine.client import connect_engine
    from envbuild.engine.load import ensure_loaded

    with connect_engine() as engine:
        return ensure_loaded(
            engine, layout=store.root, manifest_digest=manifest.digest, name=plan.reference,
            progress=progress, task=plan.name,
        ).sent  # fmt: skip


def _as_json(built: Built) -> dict[str, object]:
    return {
        "environment": built.plan.name,
        "platform": built.plan.recipe.platform,
        "reference": built.plan.reference,
        "digest": built.plan.digest,
        "manifest": built.manifest.digest if built.manifest else None,
        "outcome": built.outcome,
    }
