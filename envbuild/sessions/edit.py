"""`nox -s add` and `nox -s remove`: change what an environment asks for, and lock it again."""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from envbuild.errors import LockError, SpecError
from envbuild.kit.progress import Progress
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import show_progress
from envbuild.sessions.lock import print_changes
from envbuild.spec.edit import MANAGERS
from envbuild.spec.formats import ENVIRONMENT_NAME
from envbuild.spec.phrases import join_names
from envbuild.workspace.editing import Edited, Wish, add_all, remove_all

__all__ = ["run"]


def run(context: Context) -> None:
    """Add or remove, as the session's name says; nothing changes if the solve fails."""
    adding = context.name == "add"
    arguments = _parse(context, adding=adding)
    _check_name(context, arguments)
    wishes = _list_wishes(context, arguments)
    name = context.select_one(arguments.name)
    edit: Callable[..., Edited] = add_all if adding else remove_all
    with show_progress() as progress, _telling(context, name, progress):
        edited = edit(context, name, wishes, lock=not arguments.no_lock, progress=progress)
    context.answer.document = _as_json(name, edited)
    if arguments.json:
        return
    for wish in edited.wishes:
        where = f" on `{wish.platform}`" if wish.platform else ""
        print(f"{'asks' if adding else 'no longer asks'} {wish.manager} for `{wish.text}`{where}")
    print_changes({name: edited.moved})
    if arguments.no_lock:
        _tell_stale(context, name)
    if edited.heirs:
        print(
            f"{join_names(list(edited.heirs))} {'extend' if edited.heirs[1:] else 'extends'} "
            f"`{name}`; next: `nox -s lock -- {' '.join(edited.heirs)}`"
        )


def _tell_stale(context: Context, name: str) -> None:
    try:
        context.load_fresh(name)
    except LockError as error:
        print("; ".join(filter(None, (error.message, error.hint))))


@contextlib.contextmanager
def _telling(context: Context, name: str, progress: Progress) -> Iterator[None]:
    """Say of a failure, or a Ctrl-C, what became of spec and lock."""
    before = _read_all(context, name)
    try:
        yield
    except BaseException as error:
        if _read_all(context, name) == before:
            progress.finish(name, "nothing was changed: spec and lock are as they were")
        elif isinstance(error, KeyboardInterrupt):
            progress.finish(name, "files were changed before the end; `git diff` shows how")
        raise


def _read_all(context: Context, name: str) -> dict[Path, bytes]:
    """Return the bytes of an environment's spec and of all that its lock consists of."""
    places = context.repository
    files = [places.spec_file(name), *places.lock_folder(name).glob("*")]
    return {path: path.read_bytes() for path in files if path.is_file()}


def _parse(context: Context, *, adding: bool) -> argparse.Namespace:
    word = "REQUIREMENT" if adding else "PACKAGE"
    what = (
        "Add requirements to an environment's spec, or replace those of the same names, and lock "
        "it again. Without an option a requirement goes where its package is, else to conda if the "
        "spec has `[conda]`, else to pip."
        if adding
        else "Remove packages from an environment's spec, by any spelling of their names, and lock "
        "it again."
    )
    parser = make_parser(context, what)
    parser.add_argument("name", metavar="NAME", help="environment in `envs/`")
    parser.add_argument(
        "wishes", nargs="*", metavar=word, help="such as `numpy>=2`" if adding else "a name"
    )
    for manager in MANAGERS:
        title = {"conda": "conda", "pip": "pip", "system": "Debian's archive"}[manager]
        parser.add_argument(
            f"--{manager}", action="extend", nargs="+", default=[], metavar=word,
            help=f"all that follow, up to the next option, are {word.lower()}s of {title}",
        )  # fmt: skip
    parser.add_argument(
        "--platform", action="append", default=[], metavar="PLATFORM", dest="platforms",
        help="only what this one gets beside the others (may be given more than once)",
    )  # fmt: skip
    parser.add_argument("--no-lock", action="store_true", help="change the spec only")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_intermixed_args(context.arguments)


def _check_name(context: Context, arguments: argparse.Namespace) -> None:
    """Raise `SpecError` for a requirement where the name of the environment belongs."""
    first = context.find_name(arguments.name)
    if ENVIRONMENT_NAME.check(first) is None or first.endswith(".toml"):
        return
    words = (_find_example(context), arguments.name, *arguments.wishes)
    raise SpecError(
        "session.arguments",
        f"`nox -s {context.name}`: the name of an environment comes first, and `{first}` is none",
        hint=f"for example `nox -s {context.name} -- {shlex.join(words)}`",
    )


def _find_example(context: Context) -> str:
    """Return an environment for an example: the default one, or the first."""
    names = context.environments
    default = context.settings.default_environment
    return default if default in names else names[0] if names else "NAME"


def _list_wishes(context: Context, arguments: argparse.Namespace) -> list[Wish]:
    wishes = [Wish(text=text) for text in arguments.wishes]
    for manager in MANAGERS:
        wishes += [Wish(text=text, manager=manager) for text in getattr(arguments, manager)]
    if not wishes:
        known = context.find_name(arguments.name) in context.environments
        words = (arguments.name, "numpy") if known else (_find_example(context), arguments.name)
        raise SpecError(
            "session.arguments",
            f"`nox -s {context.name}`: nothing was named to {context.name}",
            hint=f"for example `nox -s {context.name} -- {shlex.join(words)}`",
        )
    return [
        replace(wish, platform=platform)
        for platform in arguments.platforms or [None]
        for wish in wishes
    ]


def _as_json(name: str, edited: Edited) -> dict[str, object]:
    return {
        "environment": name,
        "written": edited.written,
        "requirements": [asdict(wish) for wish in edited.wishes],
        "moved": [asdict(change) for change in edited.moved],
        "heirs": list(edited.heirs),
    }
