"""`nox -s smoke`: starts an environment's web service from its image and tests it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from envbuild.errors import RunError, SpecError
from envbuild.image.plan import ImagePlan
from envbuild.kit.progress import Progress
from envbuild.lock.model import CondaPackage, Wheel
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import print_table, show_progress
from envbuild.sessions.engine import open_image
from envbuild.spec.curated import find_curated, say_file
from envbuild.workspace.plans import find_platform, plan_one

if TYPE_CHECKING:
    from envbuild.run.smoke import SmokePlan, SmokeReport

__all__ = ["run"]


def run(context: Context) -> None:
    """Test the service, print the checks as a table, and fail if one of them did."""
    parser = make_parser(context, "Start an environment's web service from its image and test it.")
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="environment (default: the repository's)"
    )
    parser.add_argument(
        "--reuse", action="store_true",
        help="do nothing if the same service passed the same requests in the same image before",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    arguments = parser.parse_args(context.arguments)
    name = context.select_one(arguments.name)
    image = plan_one(context, name, find_platform())
    plan = _plan(context, image)
    report_file = context.repository.smokes / f"{name}.json"
    if arguments.reuse and _has_passed(report_file, plan):
        context.answer.document = json.loads(report_file.read_bytes())
        if not arguments.json:
            print(f"{name}: the same smoke test has passed before: nothing to do")
        return
    with show_progress() as progress:
        report = _smoke(context, image, plan, progress)
    _report(context, report, report_file, as_json=arguments.json)


def _plan(context: Context, image: ImagePlan) -> SmokePlan:
    from envbuild.run.checks import SERVER
    from envbuild.run.service import plan_service
    from envbuild.run.smoke import SmokePlan

    table = image.spec.smoke
    if table is None:
        raise SpecError(
            "smoke.none",
            f"`{say_file(image.name)}` has no `[smoke]` table, so there is no service to test",
            hint="to have one with a service, run `nox -s scaffold -- service --from serve`"
            if image.name in find_curated()
            else 'add one, with `entry-script = "score.py"` or `command = [...]`',
        )
    artifacts = image.recipe.artifacts
    packages = {a.name for a in artifacts if isinstance(a, Wheel | CondaPackage)}
    if not image.recipe.managed:
        packages.add(SERVER)  # nobody can see here what the base brings
    return SmokePlan(
        service=plan_service(
            table,
            environment=image.name,
            root=context.root,
            runs=context.repository.runs,
            variables=image.spec.env,
        ),
        requests=table.request,
        packages=frozenset(packages),
        python_minor=image.recipe.python_minor,
        image=image.reference,
        env_digest=image.digest,
    )


def _has_passed(report_file: Path, plan: SmokePlan) -> bool:
    try:
        report = json.loads(report_file.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return report.get("passed") is True and report.get("inputs") == plan.inputs


def _smoke(context: Context, image: ImagePlan, plan: SmokePlan, progress: Progress) -> SmokeReport:
    from envbuild.run.smoke import smoke

    with open_image(context, image, progress) as ready:
        return smoke(
            replace(
                plan,
                image_id=ready.image_id,
                manifest_digest=ready.manifest,
                python=ready.python,
            ),
            engine=ready.engine,
            folder=context.repository.smokes,
            progress=progress,
        )


def _report(context: Context, report: SmokeReport, report_file: Path, *, as_json: bool) -> None:
    from envbuild.run.smoke import render_rows

    context.answer.document = json.loads(report_file.read_bytes())
    if not as_json:
        print_table(("check", "result", "ms", "detail"), list(render_rows(report)))
    if report.passed:
        return
    failed = next(check for check in report.checks if not check.passed)
    log = (
        f", the service's log `{Path(report.log).relative_to(context.root)}`" if report.log else ""
    )
    raise RunError(
        "smoke.failed",
        f"the service of `{report.environment}` failed `{failed.name}`: {failed.detail}",
        hint=f"the whole report is `{report_file.relative_to(context.root)}`{log}",
    )
