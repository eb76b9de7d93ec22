"""`nox -s rebase`: puts environments on the newest base, under the packages that they have."""

from __future__ import annotations

from dataclasses import replace

from envbuild.kit.progress import Progress
from envbuild.lock.changes import Change
from envbuild.lock.freshness import check_not_stale
from envbuild.lock.sharing import Sharing
from envbuild.lock.upgrade import Upgrade
from envbuild.sessions import build
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import show_progress
from envbuild.sessions.lock import print_changes, tell_changes
from envbuild.sessions.many import run_many
from envbuild.workspace.locking import lock_one

__all__ = ["run"]


def run(context: Context) -> None:
    """Lock the base anew, then build; nothing is resolved, and no package's layer made again."""
    parser = make_parser(
        context,
        "Take the newest base (a registry's image, or the packages of `debian:SUITE`), leave all "
        "packages on top of it as they are locked, and build; all environments by default.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="environment in `envs/`")
    parser.add_argument("--push", action="store_true", help="push to the configured registry")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(context.arguments)
    names = context.select(arguments.names)
    with show_progress() as progress:
        sharing = Sharing()
        moved = run_many(
            names, lambda name: _refresh(context, name, progress, sharing), progress=progress,
            tell=lambda done: tell_changes(context, done),
        )  # fmt: skip
    if not arguments.json:
        print_changes(moved)
    changes, context.answer.document = context.answer.document, []
    options = [f"--{word}" for word in ("push", "json") if getattr(arguments, word)]
    try:
        build.run(replace(context, arguments=(*names, *options)))
    finally:
        context.answer.document = {"changes": changes, "images": context.answer.document}


def _refresh(
    context: Context, name: str, progress: Progress, sharing: Sharing
) -> tuple[Change, ...]:
    """Lock the base anew; a lock that is stale for other reasons is not touched."""
    lock = context.load_lock(name)
    spec = context.load(name)
    check_not_stale(spec, lock, name=name, root=context.root)
    if spec.image.dockerfile is not None:
        progress.note(
            f"{name}: its base is what its Dockerfile says, and stays; to move it, name the newest "
            "image in `FROM`, best by its digest"
        )
    return lock_one(context, name, Upgrade(base=True), progress, sharing=sharing)
