"""`nox -s doctor`: looks at machine and repository, and says how to mend what isn't well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from envbuild.doctor.checks import CHECKS
from envbuild.doctor.examine import examine
from envbuild.doctor.finding import Finding, Visit
from envbuild.errors import EnvbuildError
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import show_progress

__all__ = ["run"]


def run(context: Context) -> None:
    """Run the named checks (default: all); fails if one of them finds a problem."""
    parser = make_parser(
        context,
        "Check tools, engine, registry, credentials, package indexes, disk and repository, and say "
        "how to mend what isn't well. Only problems, not warnings, make it fail.",
    )
    parser.add_argument(
        "checks", nargs="*", metavar="CHECK",
        help=f"one of {', '.join(CHECKS)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(context.arguments)
    for name in arguments.checks:
        if name not in CHECKS:
            parser.error(f"there is no check `{name}` (there are: {', '.join(CHECKS)})")
    wanted = {n: c for n, c in CHECKS.items() if n in (arguments.checks or CHECKS)}
    with show_progress() as progress:
        progress.update("doctor", "looking", 0, len(wanted))
        found = examine(Visit(workspace=context), wanted)
    context.answer.document = _as_json(found)
    if not arguments.json:
        for name, findings in found.items():
            _show(name, findings)
    said = _conclude([finding for findings in found.values() for finding in findings])
    if not arguments.json:
        print(said)


def _as_json(found: Mapping[str, Sequence[Finding]]) -> list[dict[str, str | None]]:
    return [{"check": name, **asdict(f)} for name, findings in found.items() for f in findings]


def _show(name: str, findings: Sequence[Finding]) -> None:
    if findings:
        print(name)
    for finding in findings:
        print(f"  {finding.state:8} {finding.subject}: {finding.message}")
        if finding.hint is not None:
            print(f"  {'':8} -> {finding.hint}")


def _conclude(findings: Sequence[Finding]) -> str:
    problems = sum(f.state == "problem" for f in findings)
    warnings = sum(f.state == "warning" for f in findings)
    said = f"{_count(problems, 'problem')}, {_count(warnings, 'warning')}"
    if problems:
        raise EnvbuildError(
            "doctor.problems",
            f"{said} found",
            hint="what to do is said below each of them",
        )
    return said


def _count(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"
