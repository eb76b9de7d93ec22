"""`nox -s lock`: resolves environments into lockfiles, and shows what moved."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace

from envbuild.errors import LockError
from envbuild.lock.changes import CHANGE_COLUMNS, Change, render_changes
from envbuild.lock.sharing import Sharing
from envbuild.lock.upgrade import Upgrade, explain_unknown
from envbuild.sessions.check import add_files
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import print_table, show_progress
from envbuild.sessions.many import raise_errors, run_many
from envbuild.spec.formats import MOMENT
from envbuild.workspace.locking import lock_one
from envbuild.workspace.touched import check_tracked, find_touched

__all__ = ["print_changes", "run", "tell_changes"]


def run(context: Context) -> None:
    """Lock the named environments (default: all); writes nothing where nothing changed."""
    parser = make_parser(context, "Resolve environments into lockfiles; all of them by default.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="environment in `envs/`")
    parser.add_argument(
        "--upgrade", action="store_true", help="take the newest of everything that is allowed"
    )
    parser.add_argument(
        "--upgrade-package", action="append", default=[], metavar="PACKAGE",
        help="take the newest of this package only (may be given more than once)",
    )  # fmt: skip
    parser.add_argument(
        "--upgrade-base", action="store_true",
        help="take the newest base (a registry's image, or the packages of `debian:SUITE`) and "
        "leave all packages on top of it as they are",
    )  # fmt: skip
    said = parser.add_mutually_exclusive_group()
    said.add_argument("--json", action="store_true", help="print what moved as JSON")
    said.add_argument(
        "--markdown", action="store_true",
        help="print what moved as Markdown, for the description of a pull request",
    )  # fmt: skip
    parser.add_argument(
        "--exclude-newer", type=_parse_moment, metavar="DATE",
        help="for this once, see no package of conda or pip that was published after this day or "
        "time; to keep to it, write `exclude-newer` into the spec",
    )  # fmt: skip
    add_files(parser)
    arguments = parser.parse_args(context.arguments)
    upgrade = Upgrade(
        everything=arguments.upgrade,
        base=arguments.upgrade_base,
        packages=frozenset(arguments.upgrade_package),
        before=arguments.exclude_newer,
    )
    if arguments.files is None:
        names = context.select(arguments.names)
    else:
        names = find_touched(context, arguments.files, locks=False)
    upgrades = dict.fromkeys(names, upgrade)
    if upgrade.packages and not arguments.names:
        upgrades = _share_out(context, names, upgrade)
    moved: dict[str, tuple[Change, ...]] = {}
    try:
        with show_progress() as progress:
            sharing = Sharing()
            run_many(
                names,
                lambda name: lock_one(context, name, upgrades[name], progress, sharing=sharing),
                progress=progress, tell=moved.update,
            )  # fmt: skip
    finally:
        # One that failed doesn't hide what moved in the others.
        tell_changes(context, moved)
        _print(moved, arguments)
    if arguments.files is not None:
        raise_errors(check_tracked(context, names), len(names))


def _print(moved: dict[str, tuple[Change, ...]], arguments: Namespace) -> None:
    if arguments.markdown:
        from envbuild.lock.change_report import render_markdown

        print(render_markdown(moved), end="")
    elif not arguments.json:
        print_changes(moved)


def tell_changes(context: Context, moved: dict[str, tuple[Change, ...]]) -> None:
    """Have programs hear what moved, by environment."""
    context.answer.document = {name: [asdict(c) for c in moved[name]] for name in moved}


def _parse_moment(text: str) -> str:
    wrong = MOMENT.check(text)
    if wrong:
        raise ArgumentTypeError(wrong)
    return text


def _share_out(context: Context, names: Sequence[str], upgrade: Upgrade) -> dict[str, Upgrade]:
    """Return what moves in each environment where none was named: the packages that it has."""
    has = {name: _find_packages(context, name) for name in names}
    known = frozenset().union(*has.values())
    for package in sorted(upgrade.packages - known):
        raise explain_unknown(package, known, "in no lock")
    return {name: replace(upgrade, packages=upgrade.packages & has[name]) for name in names}


def _find_packages(context: Context, name: str) -> frozenset[str]:
    try:
        lock = context.load_lock(name)
    except LockError:
        return frozenset()
    return frozenset(a.name for part in lock.platforms.values() for a in part.artifacts)


_SHOWN = 40
"""Rows of the table of changes for one environment, so that one does not fill the screen."""

_FIRST = 10
"""Rows where so many are all new, as in a first lock: whoever wants to read it reads the lock."""


def print_changes(moved: dict[str, tuple[Change, ...]]) -> None:
    """Print a table of what moved, by environment; nothing where nothing did."""
    header = ("environment", *CHANGE_COLUMNS)
    rows: list[tuple[str, ...]] = []
    for name, changes in moved.items():
        shown = changes if os.environ.get("CI") else _shorten(changes)
        rows += [(name, *row) for row in render_changes(shown)]
        if len(shown) < len(changes):
            rows.append((name, f"... and {len(changes) - len(shown)} more", "", "", "", ""))
    if rows:
        print_table(header, rows)


def _shorten(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Return what fits, the packages of Python and conda before the system's."""
    if len(changes) <= _SHOWN:
        return changes
    first = all(change.kind == "added" for change in changes)
    kept = sorted(changes, key=lambda change: change.manager == "debian")
    kept = kept[: _FIRST if first else _SHOWN]
    return tuple(change for change in changes if change in kept)
