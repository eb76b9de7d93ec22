"""`nox -s check`: proves that lockfiles are up to date, with no network and no solve."""

from __future__ import annotations

from envbuild.errors import EnvbuildError
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.many import raise_errors

__all__ = ["run"]


def run(context: Context) -> None:
    """Check the named environments (default: all); fails if any lock isn't up to date."""
    parser = make_parser(context, "Check that lockfiles are up to date; all of them by default.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="environment in `envs/`")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(context.arguments)
    names = context.select(arguments.names)
    errors = {name: error for name in names if (error := _check(context, name)) is not None}
    context.answer.document = {n: errors[n].code if n in errors else "fresh" for n in names}
    if not (arguments.json or errors):
        print(
            "1 lockfile is up to date"
            if len(names) == 1
            else f"{len(names)} lockfiles are up to date"
        )
    raise_errors(errors, len(names))


def _check(context: Context, name: str) -> EnvbuildError | None:
    try:
        context.load_fresh(name)
    except EnvbuildError as error:
        return error
    return None
