"""Locks one environment, unless there is nothing to do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from envbuild.errors import LockError
from envbuild.kit.files import exclusive
from envbuild.kit.progress import Progress
from envbuild.kit.words import say_count
from envbuild.lock.base_rules import check_bases
from envbuild.lock.changes import Change, diff_locks
from envbuild.lock.files import read_siblings, write_lock
from envbuild.lock.freshness import find_staleness
from envbuild.lock.make import make_lock
from envbuild.lock.make_job import Made
from envbuild.lock.model import Lock
from envbuild.lock.sharing import Sharing
from envbuild.lock.upgrade import Upgrade
from envbuild.spec.model import EnvSpec
from envbuild.workspace.workspace import Workspace

__all__ = ["hold_lock", "lock_one", "lock_spec"]


def lock_one(
    workspace: Workspace,
    name: str,
    upgrade: Upgrade,
    progress: Progress,
    *,
    sharing: Sharing | None = None,
) -> tuple[Change, ...]:
    """Make the lock of one environment, unless there is nothing to do; return what moved.

    `sharing` is the command's, where it locks several.

    Raises `SpecError` for a spec that is wrong, and what `make_lock` and `write_lock` raise; the
    lock is then as it was.
    """
    with hold_lock(workspace, name):
        spec = workspace.load(name)
        return lock_spec(workspace, name, spec, upgrade, progress, sharing=sharing)


@contextlib.contextmanager
def hold_lock(workspace: Workspace, name: str) -> Iterator[None]:
    """Keep others from writing the environment's lock while the block runs."""
    with exclusive(workspace.root / ".envbuild" / "locking" / f"{name}.lock"):
        yield


def lock_spec(
    workspace: Workspace,
    name: str,
    spec: EnvSpec,
    upgrade: Upgrade,
    progress: Progress,
    *,
    ready: Callable[[], None] = lambda: None,
    sharing: Sharing | None = None,
) -> tuple[Change, ...]:
    """Do what `lock_one` does, for a spec that need not be in its file yet; under `hold_lock`.

    `ready` is called once all is resolved, before anything is written; what it raises stops that.
    """
    folder = workspace.repository.lock_folder(name)
    old = _load_old(workspace, name, progress)
    nothing_asked = upgrade == Upgrade()
    if old and nothing_asked and not find_staleness(spec, old.lock, root=workspace.root):
        check_bases(spec, old.lock)
        ready()
        progress.finish(name, "lock is up to date")
        return ()
    made = make_lock(
        name, spec, old=old, upgrade=upgrade, settings=workspace.settings,
        cache=workspace.cache, progress=progress, root=workspace.root,
        sharing=sharing or Sharing(),
    )  # fmt: skip
    ready()
    written = write_lock(folder, made.lock, name=name, files=made.files)
    changes = diff_locks(old.lock if old else None, made.lock)
    progress.finish(name, _summarise(made.lock, changes, written=written))
    return changes


def _load_old(workspace: Workspace, name: str, progress: Progress) -> Made | None:
    """Return the lock as it is; one that can't be read is no help and is made anew."""
    try:
        lock = workspace.load_lock(name)
        return Made(lock=lock, files=read_siblings(workspace.repository.lock_folder(name), lock))
    except LockError as error:
        if error.code != "lock.missing":
            progress.note(f"{name}: {error.message}; locking it anew, so no version is kept")
        return None


def _summarise(lock: Lock, changes: Sequence[Change], *, written: bool) -> str:
    if not written:
        return "lock is unchanged"
    count = sum(len(part.artifacts) for part in lock.platforms.values())
    platforms = ", ".join(sorted(lock.platforms))
    packages, moved = say_count(count, "package"), say_count(len(changes), "change")
    return f"locked {packages} for {platforms}, {moved}"
