"""`nox -s local-env`: an environment from its lock as a folder on this machine, to work in."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from envbuild.errors import ImageError
from envbuild.image.plan import ImagePlan
from envbuild.kit.progress import Progress
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import show_progress
from envbuild.workspace.local import (
    LocalEnv,
    check_local,
    ensure_local,
    make_fetch,
    plan_local,
)
from envbuild.workspace.local_report import Difference
from envbuild.workspace.plans import find_host, plan_one
from envbuild.workspace.trees import make_editable

__all__ = ["make_local", "run"]


def run(context: Context) -> None:
    """Make or renew one environment's folder, or prove that it is as locked."""
    arguments = _parse(context)
    name = context.select_one(arguments.name)
    with show_progress() as progress:
        image = plan_one(context, name, find_host())
        if arguments.check:
            env = _plan(context, image, arguments.path, progress)
            progress.update(name, "comparing every file with the lock")
            files, differences = check_local(env)
            progress.finish(name, f"compared {files} files")
        else:
            env, outcome = make_local(context, image, arguments.path, progress)
    if arguments.check:
        _report_check(context, env, arguments, files, differences)
        return
    context.answer.document = _as_json(env, outcome)
    if not arguments.json:
        _report(env, image)


def make_local(
    context: Context, image: ImagePlan, link: Path | None, progress: Progress
) -> tuple[LocalEnv, str]:
    """Make sure that the environment is there as locked; return it, and what that took."""
    env = _plan(context, image, link, progress)
    outcome = ensure_local(env, fetch=make_fetch(context, image, progress), progress=progress)
    progress.finish(image.name, outcome)
    return env, outcome


def _plan(context: Context, image: ImagePlan, link: Path | None, progress: Progress) -> LocalEnv:
    return plan_local(context, make_editable(context, image, progress), link=link)


def _parse(context: Context) -> Namespace:
    parser = make_parser(
        context,
        "Make or renew an environment on this machine from its lock, as a folder to work in. "
        "Source trees (`pip.local`) are installed editable.",
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="environment (default: the repository's)"
    )
    parser.add_argument(
        "--path", type=Path, metavar="DIR",
        help="where to put the link to it (default: `.envbuild/envs/NAME`)",
    )  # fmt: skip
    parser.add_argument(
        "--check", action="store_true",
        help="change nothing: prove that every file is as locked, or say what differs",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args(context.arguments)


def _report(env: LocalEnv, image: ImagePlan) -> None:
    if image.spec.system.packages:
        listed = ", ".join(f"`{package}`" for package in image.spec.system.packages)
        print(f"note: Debian packages stay this machine's own affair: {listed}")
    print(f"to enter it: source {shlex.quote(str(env.link / 'bin' / 'activate'))}")


def _as_json(env: LocalEnv, outcome: str) -> dict[str, Any]:
    return {
        "environment": env.name,
        "path": str(env.link),
        "prefix": str(env.prefix),
        "python": str(env.link / "bin" / "python"),
        "platform": env.recipe.platform,
        "digest": env.digest,
        "outcome": outcome,
        "packages": len(env.recipe.artifacts) + len(env.recipe.local),
    }


def _report_check(
    context: Context,
    env: LocalEnv,
    arguments: Namespace,
    files: int,
    differences: Sequence[Difference],
) -> None:
    state = "changed" if differences else "as locked"
    document = _as_json(env, state)
    listed = [asdict(difference) for difference in differences]
    context.answer.document = {**document, "files": files, "differences": listed}
    if not arguments.json and differences:
        print("\n".join(f"{env.name}: {difference}" for difference in differences))
    elif not arguments.json:
        print(f"{env.name}: {document['packages']} packages, {files} files, all as locked")
    if differences:
        raise ImageError(
            "prefix.changed",
            f"`{env.link}` isn't what the lock of `{env.name}` says",
            hint=f"to make it anew, run `nox -s local-env -- {env.name}`",
        )
