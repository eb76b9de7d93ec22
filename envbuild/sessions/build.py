"""`nox -s build-env`: makes sure that each environment's image is there, and does no work else."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from envbuild.errors import EnvbuildError
from envbuild.image.ensure import find_image
from envbuild.image.plan import EnvironmentPlan
from envbuild.image.site import Site
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import show_progress
from envbuild.sessions.many import run_many
from envbuild.workspace.building import Built, build_one, find_built
from envbuild.workspace.plans import plan_named

__all__ = ["run"]


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
        return None if busy else find_built(context, name, site)

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

        def tell(done: dict[str, Built]) -> None:
            context.answer.document = [_as_json(one) for one in done.values()]

        built = run_many(
            names, work, glance=glance, progress=progress, stop=not arguments.keep_going, tell=tell
        )
    if not arguments.json:
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
