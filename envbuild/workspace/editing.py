"""Changes what an environment asks for, and locks it again: both, or nothing.

The new spec is locked before it is written, so a request that can't be met has changed nothing.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from envbuild.errors import LockError, SpecError
from envbuild.kit.files import atomic_writer
from envbuild.kit.progress import Progress
from envbuild.kit.signals import held_back
from envbuild.lock.changes import Change
from envbuild.lock.upgrade import Upgrade
from envbuild.spec.curated import RESERVED
from envbuild.spec.edit import Manager, add_requirement, list_key, remove_requirement
from envbuild.spec.model import EnvSpec
from envbuild.workspace.heirs import ask_heirs, find_changed
from envbuild.workspace.locking import hold_lock, lock_spec
from envbuild.workspace.made import load_made, note_made
from envbuild.workspace.places import (
    check_platform,
    choose_manager,
    find_manager,
    find_parent,
    find_reasons,
    list_own,
    open_chain,
)
from envbuild.workspace.workspace import Workspace

__all__ = ["Edited", "Wish", "add_all", "remove_all", "save_spec"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """A requirement to add, or the name of one to remove; without `manager` its place is found.

    With `platform` it is about what that one gets beside the others.
    """

    text: str
    manager: Manager | None = None
    platform: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Edited:
    """What an edit came to: each wish with its manager, and what moved in the lock."""

    wishes: tuple[Wish, ...] = ()
    written: bool = False
    """False where the spec said all of it before."""
    moved: tuple[Change, ...] = ()
    heirs: tuple[str, ...] = ()
    """Environments that extend this one, and ask for something else since; they are not locked."""


def add_all(
    workspace: Workspace, name: str, wishes: Sequence[Wish], *, lock: bool, progress: Progress
) -> Edited:
    """Add requirements to the spec of an environment, in place of those of the same names.

    With `lock`, the environment is locked again. Raises `SpecError` for a wish, or a spec with it,
    that is not right, `spec.platform` for a platform that it isn't for, and what `lock_one` raises;
    spec and lock are then as they were.
    """
    where = f"envs/{name}.toml"

    def edit(data: bytes, spec: EnvSpec) -> tuple[bytes, list[Wish]]:
        placed: list[Wish] = []
        for wish in wishes:
            manager = wish.manager or choose_manager(spec, wish.text, wish.platform)
            data = add_requirement(data, wish.text, manager, platform=wish.platform, where=where)
            placed.append(replace(wish, manager=manager))
        # Of two that are about the same package, the first is gone again.
        own = open_chain(workspace, name, data)[-1]
        return data, [
            wish for wish in dict.fromkeys(placed)
            if wish.manager and wish.text in list_own(own, wish.manager, wish.platform)
        ]  # fmt: skip

    with _advised(
        f"`envs/{name}.toml` is as it was: add another name or version "
        f"(`nox -s add -- {name} ...`), or change what it doesn't go with first"
    ):
        return _change(workspace, name, wishes, edit, lock=lock, progress=progress)


def remove_all(
    workspace: Workspace, name: str, wishes: Sequence[Wish], *, lock: bool, progress: Progress
) -> Edited:
    """Remove requirements from the spec of an environment by their names, in any spelling.

    Raises `SpecError` `spec.not-asked` for one that isn't there, `spec.inherited` for one that only
    what the spec extends asks for, `spec.which-manager` for one that is there twice, and otherwise
    what `add_all` raises; spec and lock are then as they were.
    """
    where = f"envs/{name}.toml"

    def edit(data: bytes, _: EnvSpec) -> tuple[bytes, list[Wish]]:
        made = load_made(workspace, name, data)
        placed: list[Wish] = []
        for wish in wishes:
            text, platform = wish.text, wish.platform
            chain = open_chain(workspace, name, data)
            manager = find_manager(workspace, name, chain, text, wish.manager, platform)
            data = remove_requirement(
                data, text, manager, platform=platform, made=made, where=where
            )
            placed.append(replace(wish, manager=manager))
            if (parent := find_parent(chain, text, manager, platform)) is not None:
                progress.note(f"{name}: `{parent}` still asks for `{text}`")
        return data, placed

    done = _change(workspace, name, wishes, edit, lock=lock, progress=progress)
    if lock:
        _note_kept(workspace, name, done, progress)
    return done


def _note_kept(workspace: Workspace, name: str, done: Edited, progress: Progress) -> None:
    """Say which of the packages that are asked for no longer are locked all the same."""
    chain = open_chain(workspace, name, workspace.repository.spec_file(name).read_bytes())
    for wish in done.wishes:
        # What one platform was to have may be asked for by others; no package of Debian says who
        # needs it.
        if wish.platform or wish.manager is None or wish.manager == "system":
            continue
        if find_parent(chain, wish.text, wish.manager):
            continue
        if reasons := find_reasons(workspace, name, wish.text):
            progress.note(
                f"{name}: `{wish.text}` stays in the lock, because it is needed by {reasons}"
            )


def save_spec(
    workspace: Workspace, name: str, data: bytes, *, lock: bool, progress: Progress
) -> Edited:
    """Write another text of an environment's spec; otherwise as `add_all`."""
    _check_own(workspace, name)
    with hold_lock(workspace, name):
        return _write(workspace, name, data, lock=lock, progress=progress)


def _check_own(workspace: Workspace, name: str) -> None:
    if name.startswith(RESERVED) and name not in workspace.environments:
        raise SpecError(
            "spec.name",
            f"`{name}` comes with envbuild, and can't be changed",
            hint=f'to make one of your own from it, write `extends = "{name}"` and what is to be '
            "different into `envs/my-environment.toml`",
        )


def _change(
    workspace: Workspace,
    name: str,
    wishes: Sequence[Wish],
    edit: Callable[[bytes, EnvSpec], tuple[bytes, list[Wish]]],
    *,
    lock: bool,
    progress: Progress,
) -> Edited:
    _check_own(workspace, name)
    with hold_lock(workspace, name):
        spec = workspace.load(name)
        for wish in wishes:
            check_platform(name, spec, wish.platform)
        old = workspace.repository.spec_file(name).read_bytes()
        data, placed = edit(old, spec)
        places = [list_key(wish.manager, wish.platform) for wish in placed if wish.manager]

        def note() -> None:
            note_made(workspace, name, places, old=old, new=data)

        done = _write(workspace, name, data, lock=lock, progress=progress, note=note)
    return replace(done, wishes=tuple(placed))


def _write(
    workspace: Workspace,
    name: str,
    data: bytes,
    *,
    lock: bool,
    progress: Progress,
    note: Callable[[], None] = lambda: None,
) -> Edited:
    """Write a spec that is right, and lock it; the file takes its place when all else is done.

    `note` is called after that. Ctrl-C and SIGTERM wait from the first file to the last.
    """
    path = workspace.repository.spec_file(name)
    old = _read_bytes(path)
    spec = _read(workspace, name, data)
    asked = ask_heirs(workspace, name) if data != old else {}

    moved: tuple[Change, ...] = ()
    with contextlib.ExitStack() as held, contextlib.ExitStack() as stack:

        def ready() -> None:
            if _read_bytes(path) != old:
                raise SpecError(
                    "spec.overtaken",
                    f"`envs/{name}.toml` was changed by somebody else meanwhile",
                    hint="run the same command again",
                )
            held.enter_context(held_back())
            if data != old:
                stack.enter_context(_replaced(path, data))

        if lock:
            moved = lock_spec(workspace, name, spec, Upgrade(), progress, ready=ready)
        else:
            ready()
        if data != old:
            stack.close()
            note()
    heirs = find_changed(workspace, asked, progress)
    return Edited(written=data != old, moved=moved, heirs=heirs)


@contextlib.contextmanager
def _advised(hint: str) -> Iterator[None]:
    """Have the error for a request that can't be met say `hint`: the spec doesn't hold it."""
    try:
        yield
    except LockError as error:
        if error.code == "lock.unsatisfiable":
            error.hint = hint
        raise


def _read_bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _read(workspace: Workspace, name: str, data: bytes) -> EnvSpec:
    try:
        return workspace.parse(name, data)
    except SpecError as error:
        if error.code != "spec.invalid":
            raise
        problems = [replace(problem, line=None) for problem in error.problems]
        message = f"with that change, {error.message.replace(' has ', ' would have ')}"
        raise SpecError("spec.invalid", message, problems=problems, hint=error.hint) from None


@contextlib.contextmanager
def _replaced(path: Path, data: bytes) -> Iterator[None]:
    """Write `data` beside `path`, and put it into its place if the block ends without an error."""
    real = path.resolve()
    mode = stat.S_IMODE(real.stat().st_mode) if real.exists() else 0o644
    with atomic_writer(real, mode=mode) as file:
        file.write(data)
        file.flush()
        yield
