"""`nox -s check`: proves that lockfiles are up to date, with no network and no solve."""

from __future__ import annotations

import argparse
from pathlib import Path

from envbuild.errors import EnvbuildError
from envbuild.kit.words import say_count
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.many import raise_errors

__all__ = ["add_files", "run"]


def run(context: Context) -> None:
    """Check the named environments (default: all); fails if any lock isn't up to date."""
    parser = make_parser(context, "Check that lockfiles are up to date; all of them by default.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="environment in `envs/`")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_files(parser)
    arguments = parser.parse_args(context.arguments)
    context.check_settings()
    names, errors = _choose(context, arguments)
    errors |= {
        name: error
        for name in names
        if name not in errors and (error := _check(context, name)) is not None
    }
    context.answer.document = {n: errors[n].code if n in errors else "fresh" for n in names}
    if not (arguments.json or errors):
        verb = "is" if len(names) == 1 else "are"
        print(f"{say_count(len(names), 'lockfile')} {verb} up to date")
    raise_errors(errors, len(names))


def add_files(parser: argparse.ArgumentParser) -> None:
    """Give a session the option by which pre-commit names the files of a commit."""
    parser.add_argument(
        "--files", nargs="*", type=Path, metavar="FILE",
        help="only the environments that these files of a commit are about",
    )  # fmt: skip


def _choose(
    context: Context, arguments: argparse.Namespace
) -> tuple[tuple[str, ...], dict[str, EnvbuildError]]:
    """Return the environments to check, and what is wrong with how git has them."""
    if arguments.files is None:
        return context.select(arguments.names), {}
    from envbuild.workspace.touched import check_tracked, find_touched

    names = find_touched(context, arguments.files)
    return names, check_tracked(context, names)


def _check(context: Context, name: str) -> EnvbuildError | None:
    try:
        context.load_fresh(name)
    except EnvbuildError as error:
        return error
    return None
