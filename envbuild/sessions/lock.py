"""`nox -s lock`: resolves environments into lockfiles, and shows what moved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches

from envbuild.errors import LockError
from envbuild.kit.files import exclusive
from envbuild.kit.progress import Progress
from envbuild.lock.base_rules import check_bases
from envbuild.lock.changes import Change, diff_locks
from envbuild.lock.files import load_lock, read_siblings, write_lock
from envbuild.lock.freshness import find_staleness
from envbuild.lock.make import Made, make_lock
from envbuild.lock.model import Lock
from envbuild.lock.upgrade import Upgrade
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import print_table, show_progress
from envbuild.sessions.many import run_many

__all__ = ["lock_one", "print_changes", "run"]


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
    arguments = parser.parse_args(context.arguments)
    upgrade = Upgrade(
        everything=arguments.upgrade,
        base=arguments.upgrade_base,
        packages=frozenset(arguments.upgrade_package),
    )
    names = context.select(arguments.names)
    with show_progress() as progress:
        upgrades = dict.fromkeys(names, upgrade)
        if upgrade.packages and not arguments.names:
            upgrades = _share_out(context, names, upgrade)
        moved = run_many(
            names, lambda name: lock_one(context, name, upgrades[name], progress), progress=progress
        )
    print_changes(moved)


def _share_out(context: Context, names: Sequence[str], upgrade: Upgrade) -> dict[str, Upgrade]:
    """Return what moves in each environment where none was named: the packages that it has."""
    has = {name: _find_packages(context, name) for name in names}
    known = frozenset().union(*has.values())
    for package in sorted(upgrade.packages - known):
        near = get_close_matches(package, sorted(known), n=3)
        raise LockError(
            "lock.unknown-package",
            f"`{package}` is in no lock, so it can't be upgraded",
            hint=f"did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else None,
        )
    return {name: replace(upgrade, packages=upgrade.packages & has[name]) for name in names}


def _find_packages(context: Context, name: str) -> frozenset[str]:
    try:
        lock = load_lock(context.repository.lock_folder(name), name=name, cache=context.cache)
    except LockError:
        return frozenset()
    return frozenset(a.name for part in lock.platforms.values() for a in part.artifacts)


def lock_one(
    context: Context, name: str, upgrade: Upgrade, progress: Progress
) -> tuple[Change, ...]:
    """Make the lock of one environment, unless there is nothing to do; return what moved."""
    spec = context.load(name)
    folder = context.repository.lock_folder(name)
    with exclusive(context.root / ".envbuild" / "locking" / f"{name}.lock"):
        old = _load_old(context, name, progress)
        if old and upgrade == Upgrade() and not find_staleness(spec, old.lock, root=context.root):
            check_bases(spec, old.lock)
            progress.finish(name, "lock is up to date")
            return ()
        made = make_lock(
            name, spec, old=old, upgrade=upgrade, settings=context.settings,
            cache=context.cache, progress=progress, root=context.root,
        )  # fmt: skip
        written = write_lock(folder, made.lock, name=name, files=made.files)
    changes = diff_locks(old.lock if old else None, made.lock)
    progress.finish(name, _summarise(made.lock, changes, written=written))
    return changes


def _load_old(context: Context, name: str, progress: Progress) -> Made | None:
    """Return the lock as it is; one that can't be read is no help and is made anew."""
    folder = context.repository.lock_folder(name)
    try:
        lock = load_lock(folder, name=name, cache=context.cache)
        return Made(lock=lock, files=read_siblings(folder, lock))
    except LockError as error:
        if error.code != "lock.missing":
            progress.note(f"{name}: {error.message}; locking it anew, so no version is kept")
        return None


def _summarise(lock: Lock, changes: Sequence[Change], *, written: bool) -> str:
    if not written:
        return "lock is unchanged"
    count = sum(len(part.artifacts) for part in lock.platforms.values())
    platforms = ", ".join(sorted(lock.platforms))
    return f"locked {count} packages for {platforms}, {len(changes)} changes"


_SHOWN = 40
"""Rows of the table of changes for one environment; a first lock would fill the screen."""


def print_changes(moved: dict[str, tuple[Change, ...]]) -> None:
    """Print a table of what moved, by environment; nothing where nothing did."""
    header = ("environment", "package", "change", "from", "to", "platforms")
    rows: list[tuple[str, ...]] = []
    for name, changes in moved.items():
        shown = changes if len(changes) <= _SHOWN or os.environ.get("CI") else changes[:_SHOWN]
        rows += [
            (name, f"{c.name} ({c.manager})", c.kind, c.old, c.new, ", ".join(c.platforms))
            for c in shown
        ]
        if len(shown) < len(changes):
            rows.append((name, f"... and {len(changes) - len(shown)} more", "", "", "", ""))
    if rows:
        print_table(header, rows)
