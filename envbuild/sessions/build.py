"""`nox -s build-env`: makes sure that each environment's image is there, and does no work else."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from envbuild.errors import EnvbuildError
from envbuild.image.ensure import (
    Ensured,
    ensure_environment,
    ensure_image,
    find_environment,
    find_image,
)
from envbuild.image.plan import EnvironmentPlan
from envbuild.image.push import Pushed, ensure_pushed
from envbuild.image.site import Site
from envbuild.oci.descriptor import Descriptor
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import show_progress
from envbuild.sessions.many import run_many
from envbuild.sessions.plans import find_platform, plan_named

__all__ = ["Built", "build_one", "run"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """An image that is there now, and what it took."""

    plan: EnvironmentPlan
    manifest: Descriptor | None
    """None where the registry has it and this machine doesn't need it."""
    outcome: str
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Time of each step."""


def run(context: Context) -> None:
    """Build, and with `--push` push, the named environments (default: all)."""
    arguments = _parse(context)
    names = context.select(arguments.names)
    if arguments.dockerfile:
        _print_dockerfiles(context, names)
    elif arguments.plan:
        from envbuild.sessions.preview import preview

        preview(
            context, names, push=arguments.push, fresh=arguments.no_cache, as_json=arguments.json
        )
    else:
        _build(context, names, arguments)


def _parse(context: Context) -> argparse.Namespace:
    parser = make_parser(
        context,
        "Build the image of each environment that isn't there yet; all by default.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="environment in `envs/`")
    parser.add_argument("--push", action="store_true", help="push to the configured registry")
    parser.add_argument("--load", action="store_true", help="load into Docker Engine")
    parser.add_argument(
        "--plan", action="store_true",
        help="say what would be fetched, made, reused and pushed, and do nothing",
    )  # fmt: skip
    parser.add_argument(
        "--no-cache", action="store_true", help="make every layer anew, whoever made it before"
    )
    parser.add_argument(
        "--keep-going", action=argparse.BooleanOptionalAction, default=True,
        help="begin further environments after one has failed (default: yes)",
    )  # fmt: skip
    parser.add_argument(
        "--keep-failed", action="store_true",
        help="unpack what a failed build had finished below `.envbuild/failed`",
    )  # fmt: skip
    parser.add_argument(
        "--verbose", action="store_true", help="say what is done, layer by layer, and the time"
    )
    parser.add_argument(
        "--dockerfile", action="store_true", help="print the nearest Dockerfile, and build nothing"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args(context.arguments)


def _build(context: Context, names: Sequence[str], arguments: argparse.Namespace) -> None:
    busy = arguments.push or arguments.load or arguments.no_cache

    def glance(name: str) -> Built | None:
        return None if busy else _find_built(context, name, site)

    with show_progress() as progress:
        site = context.make_site(
            progress, fresh=arguments.no_cache, verbose=arguments.verbose,
            thorough=arguments.keep_failed,
        )  # fmt: skip

        def work(name: str) -> Built:
            plan = plan_named(context, name, progress)
            try:
                return build_one(plan, site, push=arguments.push, load=arguments.load)
            except EnvbuildError:
                if arguments.keep_failed:
                    _keep_failed(context, plan, site)
                raise

        built = run_many(
            names, work, glance=glance, progress=progress, stop=not arguments.keep_going
        )
    if arguments.json:
        print(json.dumps([_as_json(b) for b in built.values()], indent=2))
    else:
        for item in built.values():
            print(item.plan.reference)


def _print_dockerfiles(context: Context, names: Sequence[str]) -> None:
    from envbuild.image.equivalent import render_dockerfile

    for name in names:
        for image in plan_named(context, name).images:
            print(render_dockerfile(image))


def _keep_failed(context: Context, plan: EnvironmentPlan, site: Site) -> None:
    from envbuild.image.failure import keep_failure

    for image in plan.images:
        if find_image(site, image) is None:
            folder = context.repository.failed / plan.name / image.recipe.platform
            count = keep_failure(site, image, folder)
            site.progress.note(f"{plan.name}: {count} finished layers are unpacked in `{folder}`")


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
    if push:
        pushed = ensure_pushed(site, plan)
        ensured = pushed.ensured
        parts += [*_say_ensured(ensured), _say_pushed(pushed)]
    else:
        ensured = ensure_environment(site, plan)
        parts += _say_ensured(ensured)
    manifest = ensured.manifest if ensured else find_environment(site, plan)
    if load:
        parts.append("loaded" if _load(plan, site) else "engine has it")
    took = time.monotonic() - start
    outcome = ", ".join(parts) or "up to date"
    site.progress.finish(plan.name, f"{outcome} ({took:.1f} s)" if took > 0.1 else outcome)
    seconds = ensured.seconds if ensured else {}
    for step, taken in seconds.items():
        site.say(f"{plan.name}: {step}: {taken:.2f} s")
    return Built(plan=plan, manifest=manifest, outcome=outcome, seconds=seconds)


def _say_ensured(ensured: Ensured | None) -> list[str]:
    if ensured is None or ensured.was_there:
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
        "seconds": {step: round(taken, 3) for step, taken in built.seconds.items()},
    }
