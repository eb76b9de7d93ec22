"""Reads and writes a lock's folder, `lockfiles/NAME/`: `envbuild.lock` and the files beside it.

`envbuild.lock` holds the digests of its siblings and takes its place last, so a writer that is
killed leaves the old lock, or siblings that don't fit it, which `load_lock` refuses by name. Ctrl-C
and SIGTERM wait until all of them are in place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NoReturn

from envbuild.errors import LockError
from envbuild.kit.canonical import digest_bytes
from envbuild.kit.files import atomic_writer
from envbuild.kit.places import Cache
from envbuild.kit.signals import held_back
from envbuild.lock.model import Lock
from envbuild.lock.parse import SIBLING, parse_lock
from envbuild.lock.recall import find_parsed, remember_parsed
from envbuild.lock.render import render_lock
from envbuild.spec.formats.urls import find_literal_secret

__all__ = [
    "LOCK_FILE",
    "load_lock",
    "parse_lock",
    "read_siblings",
    "render_lock",
    "write_lock",
]

LOCK_FILE: Final = "envbuild.lock"

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
_PART: Final = re.compile(rf"\.(?:{SIBLING.pattern}|envbuild\.lock)\.[^.]+\.part")
"""What `atomic_writer` leaves when it is killed."""


def load_lock(folder: Path, *, name: str, cache: Cache) -> Lock:
    """Return the lock of environment `name` from its folder, and make sure of its siblings.

    Raises `LockError`: `lock.missing` without an `envbuild.lock`, `lock.unreadable` where the
    system refuses, what `parse_lock` raises, and `lock.edited` for a sibling that is missing, was
    changed, or doesn't belong to the lock.
    """
    data = _read(folder, LOCK_FILE, name)
    if data is None:
        raise LockError(
            "lock.missing",
            f"the environment `{name}` is not locked: there is no `{_show(folder, LOCK_FILE)}`",
            hint=f"to lock it, run `nox -s lock -- {name}`",
        )
    lock = find_parsed(data, cache=cache)
    if lock is None:
        lock = parse_lock(data, where=_show(folder, LOCK_FILE))
        remember_parsed(data, lock, cache=cache)
    for file in lock.files:
        _read_sibling(folder, file, lock, name)
    for file in _find_siblings(folder):
        if file not in lock.files:
            _refuse(folder, file, name, f"does not belong to the lock of `{name}`")
    return lock


def read_siblings(folder: Path, lock: Lock) -> Mapping[str, bytes]:
    """Return the bytes of the files beside a lock, by file name, each as the lock has it.

    Raises `LockError` `lock.edited` for one that is missing or was changed.
    """
    return {file: _read_sibling(folder, file, lock, folder.name) for file in lock.files}


def write_lock(folder: Path, lock: Lock, *, name: str, files: Mapping[str, bytes]) -> bool:
    """Write the lock of environment `name` and its siblings; return whether anything changed.

    `files` has the bytes of exactly the siblings that `lock.files` has the digests of. Where all
    bytes are there already, nothing is touched. One writer at a time: callers hold the
    environment's file lock. Raises `LockError` `lock.secret` for a credential that would get into
    a file, and `lock.unwritable` where the system refuses; in both cases the old lock is whole.
    """
    if {file: digest_bytes(data) for file, data in files.items()} != dict(lock.files):
        raise ValueError("the lock's digests are not those of the files that come with it")
    wanted = {LOCK_FILE: render_lock(lock, name=name).encode(), **files}
    for file, data in wanted.items():
        _check_secrets(data, _show(folder, file))
    changed = {f: data for f, data in wanted.items() if _read(folder, f, name) != data}
    obsolete = [folder / file for file in _find_siblings(folder) if file not in files]
    try:
        with held_back():
            if changed:
                _replace(folder, changed)
            for path in (*obsolete, *_find_remains(folder)):
                path.unlink(missing_ok=True)
    except OSError as error:
        raise LockError(
            "lock.unwritable",
            f"the lock of `{name}` can't be written to `{_show(folder)}`: {error.strerror}",
        ) from error
    return bool(changed or obsolete)


def _replace(folder: Path, changed: Mapping[str, bytes]) -> None:
    """Write all files aside, then move them into place: the last first, `envbuild.lock` last.

    Only the moves can be cut short, and a full disk shows before the first of them.
    """
    with ExitStack() as stack:
        for file, data in changed.items():
            target = stack.enter_context(atomic_writer(folder / file))
            target.write(data)
            target.flush()


def _show(folder: Path, file: str = "") -> str:
    """Return the path for people: `lockfiles/NAME/FILE`."""
    return "/".join(part for part in (*folder.parts[-2:], file) if part)


def _read(folder: Path, file: str, name: str) -> bytes | None:
    try:
        return (folder / file).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LockError(
            "lock.unreadable",
            f"`{_show(folder, file)}`, part of the lock of `{name}`, can't be read: "
            f"{error.strerror}",
        ) from error


def _read_sibling(folder: Path, file: str, lock: Lock, name: str) -> bytes:
    data = _read(folder, file, name)
    if data is None:
        _refuse(folder, file, name, "is missing")
    if digest_bytes(data) != lock.files[file]:
        _refuse(folder, file, name, f"is not the file that the lock of `{name}` was made with")
    return data


def _refuse(folder: Path, file: str, name: str, problem: str) -> NoReturn:
    raise LockError(
        "lock.edited",
        f"`{_show(folder, file)}` {problem}",
        hint=f"to keep its versions, restore it with `git checkout -- lockfiles/{name}`; "
        f"to make the lock anew, run `nox -s lock -- {name}`",
    )


def _find_siblings(folder: Path) -> list[str]:
    """Return the names of all files in `folder` that only a lock has, sorted."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if SIBLING.fullmatch(path.name))


def _find_remains(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _PART.fullmatch(path.name)]


def _check_secrets(data: bytes, where: str) -> None:
    """Refuse a password or token written out in a URL; the message doesn't show it."""
    for url in _URL.findall(data.decode(errors="replace")):
        if find_literal_secret(url):
            raise LockError(
                "lock.secret",
                f"a URL with a password or token would get into `{where}`, so it was not written",
                hint="to keep it out, set a variable such as `TOKEN` to it, and write `${TOKEN}` "
                "in its place in the spec, or in the settings of pip or conda",
            )
