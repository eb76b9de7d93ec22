"""`nox -s ci-matrix`: the jobs that CI has to run, and no other, as JSON."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from envbuild.errors import EnvbuildError, SpecError
from envbuild.image.plan import EnvironmentPlan
from envbuild.image.push import find_pushed
from envbuild.kit.progress import Silent
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import show_progress
from envbuild.sessions.many import raise_errors, run_many
from envbuild.workspace.matrix import RUNNERS, Job, make_jobs
from envbuild.workspace.plans import plan_named

__all__ = ["run"]

_TEMPLATE: Final = ".gitlab/environments.yml"


def run(context: Context) -> None:
    """Print the jobs for the named environments (default: all) that have work to do."""
    arguments = _parse(context)
    context.answer.wanted = arguments.gitlab is None
    context.check_settings()
    names = context.select(arguments.names)
    runners = _read_runners(arguments.runner)
    plans = _plan_all(context, names)
    reasons = _find_reasons(context, plans, arguments)
    jobs = make_jobs(plans, reasons=reasons, runners=runners, per_platform=arguments.per_platform)
    document = {"include": [job.render() for job in jobs]}
    if arguments.github:
        _write_outputs(document)
    if arguments.gitlab is None:
        context.answer.document = document
    else:
        print(_render_gitlab(jobs, arguments.gitlab), end="")


def _parse(context: Context) -> argparse.Namespace:
    parser = make_parser(
        context,
        "Print, as JSON for a matrix of CI jobs, the environments whose image the registry lacks, "
        "and with --since those that are another image than at that commit.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="environment in `envs/`")
    parser.add_argument(
        "--since", metavar="COMMIT", help="also those whose content changed since then"
    )
    parser.add_argument("--offline", action="store_true", help="do not ask the registry")
    parser.add_argument(
        "--per-platform", action="store_true",
        help="a job for each platform (default: for each environment, which one machine builds)",
    )  # fmt: skip
    parser.add_argument(
        "--runner", action="append", default=[], metavar="PLATFORM=LABEL",
        help="machine for a platform's jobs (may be given more than once)",
    )  # fmt: skip
    parser.add_argument(
        "--github",
        action="store_true",
        help="also write the outputs `matrix` and `has-work` to the file $GITHUB_OUTPUT",
    )
    parser.add_argument(
        "--gitlab", nargs="?", const=_TEMPLATE, metavar="FILE",
        help="print a child pipeline that extends `.environment` of FILE instead "
        f"(default: `{_TEMPLATE}`)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="no change: it is JSON anyway")
    return parser.parse_args(context.arguments)


def _read_runners(texts: Sequence[str]) -> Mapping[str, str]:
    runners = dict(RUNNERS)
    for text in texts:
        platform, _, label = text.partition("=")
        if platform not in RUNNERS or not label:
            known = " or ".join(f"`--runner {platform}=LABEL`" for platform in RUNNERS)
            raise SpecError(
                "session.arguments",
                f"`--runner {text}` names no machine of a platform that has images",
                hint=f"write {known}",
            )
        runners[platform] = label
    return runners


def _plan_all(context: Context, names: Sequence[str]) -> list[EnvironmentPlan]:
    plans: list[EnvironmentPlan] = []
    errors: dict[str, EnvbuildError] = {}
    with show_progress() as progress:
        for name in names:
            try:
                plans.append(plan_named(context, name, progress))
            except EnvbuildError as error:
                errors[name] = error
    raise_errors(errors, len(names))
    return plans


def _find_reasons(
    context: Context, plans: Sequence[EnvironmentPlan], arguments: argparse.Namespace
) -> Mapping[str, str]:
    """Return why each environment is to be built that is to be; raises where nobody can tell."""
    reasons: dict[str, str] = {}
    if arguments.since is not None:
        from envbuild.workspace.changed import find_changed

        reasons |= find_changed(context.root, plans, commit=arguments.since)
    asked = [p for p in plans if p.name not in reasons and p.repository and not arguments.offline]
    if arguments.since is None and len(asked) < len(plans):
        raise SpecError(
            "session.no-question",
            "nothing says which environments are to be built: no registry is asked, and no commit "
            "is named to compare with",
            hint="run `nox -s ci-matrix -- --since origin/main`, or set `repository` under "
            "`[tool.envbuild]` in `pyproject.toml`",
        )
    return reasons | dict.fromkeys(_find_missing(context, asked), "missing")


def _find_missing(context: Context, plans: Sequence[EnvironmentPlan]) -> list[str]:
    """Return the environments whose image the registry lacks; each image is asked for once."""
    site = context.make_site(Silent())
    by_name = {plan.name: plan for plan in plans}
    there = run_many(
        list(by_name), lambda name: find_pushed(site, by_name[name]) is not None,
        progress=site.progress,
    )  # fmt: skip
    return [name for name, found in there.items() if not found]


def _write_outputs(document: dict[str, list[dict[str, str]]]) -> None:
    place = os.environ.get("GITHUB_OUTPUT")
    if not place:
        raise SpecError(
            "session.no-output",
            "`--github` writes to the file that the variable GITHUB_OUTPUT names, and it isn't set",
            hint="outside of GitHub Actions, run `nox -s ci-matrix`",
        )
    with Path(place).open("a", encoding="utf-8") as file:
        file.write(f"matrix={json.dumps(document)}\n")
        file.write(f"has-work={json.dumps(bool(document['include']))}\n")


def _render_gitlab(jobs: Sequence[Job], template: str) -> str:
    """Return a child pipeline with a job each; GitLab wants at least one."""
    import yaml

    pipeline: dict[str, object] = {"include": [{"local": template}]}
    for job in jobs:
        row = job.render()
        name = f"{job.environment} ({row['platform']})"
        variables = {key.upper(): text for key, text in row.items()}
        pipeline[name] = {"extends": ".environment", "variables": variables}
    if not jobs:
        pipeline = {"nothing to do": {"script": ["echo every image is there"]}}
    return str(yaml.safe_dump(pipeline, sort_keys=False))
