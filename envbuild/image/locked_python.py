"""Unpacks the Python that a lock brings for this machine, to run it from the cache.

Nothing is installed: neither root nor a chroot is needed. conda's Python runs from any folder.
Debian's is started by the dynamic loader that came with it, and finds its own libraries and its own
C library by that; so it doesn't matter which distribution this machine runs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from envbuild.errors import ImageError
from envbuild.image.assemble import Fetch
from envbuild.kit.files import atomic_folder
from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.layers.compiler import ask_interpreter, find_fault
from envbuild.layers.conda import read_conda
from envbuild.layers.deb import read_deb
from envbuild.layers.entry import Entry
from envbuild.layers.order import plan_entries
from envbuild.lock.debian_index import parse_stanza
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage
from envbuild.spec.derive import PREFIX

__all__ = ["unpack_python"]

_DIGITS: Final = 20
_UPSTREAM: Final = re.compile(r"(?:\d+:)?(\d+\.\d+\.\d+)(?:~?((?:a|b|rc)\d+))?")
"""A Debian version's upstream part, as Python says it: `3.11.2-6`, `3.14.0~rc1-1`."""
_CONTROL: Final = re.compile(r"var/lib/dpkg/info/[^/]+\.control")


def unpack_python(
    version: str,
    *,
    artifacts: Sequence[Artifact],
    fetch: Fetch,
    cache: Cache,
    progress: Progress,
    task: str,
) -> tuple[str, ...]:
    """Return the command line that starts the locked CPython `version` from the cache.

    Empty where `artifacts` don't bring it, or it doesn't run here. It is unpacked once: only what
    it needs to compile is fetched. Raises what `fetch` and unpacking raise.
    """
    conda = [a for a in artifacts if isinstance(a, CondaPackage)]
    debian = [a for a in artifacts if isinstance(a, DebianPackage)]
    for core, unpack, start in (
        (_find_conda(conda, version), _unpack_conda, _start_conda),
        (_find_debian(debian, version), _unpack_debian, _start_debian),
    ):
        if not core:
            continue
        place = cache.interpreters.resolve() / _name(core)
        if not place.is_dir():
            progress.update(task, f"unpacking Python {version} to compile byte code")
            try:
                with atomic_folder(place) as work:
                    unpack(core, artifacts, fetch, work)
                    _check(start(work, version), version)
            except _UnusableError:
                continue
        return start(place, version)
    return ()


class _UnusableError(Exception):
    """What was unpacked is not the Python that was wanted, or doesn't run here."""


def _name(core: Iterable[Artifact]) -> str:
    said = " ".join(sorted(artifact.sha256 for artifact in core))
    return hashlib.sha256(said.encode()).hexdigest()[:_DIGITS]


def _check(argv: tuple[str, ...], version: str) -> None:
    found = ask_interpreter(argv) if argv else None
    if found is None or find_fault(found, version):
        raise _UnusableError


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


# conda


def _find_conda(packages: Iterable[CondaPackage], version: str) -> list[Artifact]:
    return [p for p in packages if p.name == "python" and p.version == version]


def _unpack_conda(
    core: Sequence[Artifact], artifacts: Sequence[Artifact], fetch: Fetch, work: Path
) -> None:
    """Unpack Python and all that it depends on; a dependency that can't be is left out."""
    python_minor = _minor(core[0].version)
    groups: list[tuple[Entry, ...]] = []

    def read(package: Artifact, file: Path) -> Iterable[str]:
        if not isinstance(package, CondaPackage):
            return ()
        try:
            entries = read_conda(
                file,
                package,
                prefix=PREFIX,  # it finds its library from where it is started
                python_minor=python_minor,
                link_scripts="ignore",
            )
        except ImageError:
            if package in core:
                raise
            return ()
        groups.append(entries)
        return _list_depends(entries)

    _walk(core, [a for a in artifacts if isinstance(a, CondaPackage)], fetch, read)
    stem = f"{PREFIX}/".lstrip("/")
    _write((e for e in plan_entries(groups) if e.path.startswith(stem)), work, stem)


def _list_depends(entries: Iterable[Entry]) -> list[str]:
    """Return the names in `depends` of the record that `read_conda` made."""
    record = next(e for e in entries if "/conda-meta/" in e.path and e.path.endswith(".json"))
    depends = json.loads(_read(record)).get("depends", ())
    return [str(text).split(" ", 1)[0] for text in depends]


def _read(entry: Entry) -> bytes:
    return b"".join(entry.body().data) if entry.body is not None else b""


def _start_conda(place: Path, version: str) -> tuple[str, ...]:
    return (str(place / f"bin/python{_minor(version)}"),)


# Debian


def _find_debian(packages: Iterable[DebianPackage], version: str) -> list[Artifact]:
    """Return the packages of the interpreter and of its library, or none if one is missing.

    The library is needed as a whole: sources may name any coding that it knows.
    """
    minor = _minor(version)
    names = {f"python{minor}-minimal", f"libpython{minor}-stdlib"}
    found: list[Artifact] = []
    for package in packages:
        match = _UPSTREAM.match(package.version) if package.name in names else None
        if match and "".join(filter(None, match.groups())) == version:
            found.append(package)
    return found if len(found) == len(names) else []


def _unpack_debian(
    core: Sequence[Artifact], artifacts: Sequence[Artifact], fetch: Fetch, work: Path
) -> None:
    """Unpack the interpreter, what it depends on, and the library without its dependencies.

    Those are for modules such as ssl, which nothing that is compiled needs.
    """
    groups: list[tuple[Entry, ...]] = []

    def read(package: Artifact, file: Path) -> Iterable[str]:
        if not isinstance(package, DebianPackage):
            return ()
        groups.append(read_deb(file, package))
        return () if package.name.endswith("-stdlib") else _list_relations(groups[-1])

    _walk(core, [a for a in artifacts if isinstance(a, DebianPackage)], fetch, read)
    _write(plan_entries(groups), work, "")


def _list_relations(entries: Iterable[Entry]) -> list[str]:
    """Return the names of what a package needs, alternatives too, by its kept control file."""
    control = next(e for e in entries if _CONTROL.fullmatch(e.path))
    fields = parse_stanza(_read(control).decode(errors="replace"))
    relations = ",".join(fields.get(key, "") for key in ("Pre-Depends", "Depends"))
    return re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]+)", relations)


def _start_debian(place: Path, version: str) -> tuple[str, ...]:
    """Return the command line with the unpacked loader; () where there is none."""
    loaders = sorted((place / "usr/lib").glob("*/ld-linux*.so.*"))
    if not loaders:
        return ()
    libraries = f"{loaders[0].parent}:{place / 'usr/lib'}"
    program = str(place / f"usr/bin/python{_minor(version)}")
    return (str(loaders[0]), "--inhibit-cache", "--library-path", libraries, program)


# Both


def _walk(
    core: Sequence[Artifact],
    artifacts: Sequence[Artifact],
    fetch: Fetch,
    read: Callable[[Artifact, Path], Iterable[str]],
) -> None:
    """Fetch and read `core` and, round by round, those of `artifacts` that `read` names."""
    known: Mapping[str, Artifact] = {artifact.name: artifact for artifact in artifacts}
    todo = {artifact.name: artifact for artifact in core}
    seen: set[str] = set()
    while todo:
        seen |= set(todo)
        files = fetch(tuple(todo.values()))
        named = {n for a in todo.values() for n in read(a, files[a.sha256])}
        todo = {name: known[name] for name in sorted(named - seen) if name in known}


def _write(entries: Iterable[Entry], work: Path, stem: str) -> None:
    """Write entries, whose paths begin with `stem`, below `work`; parents come before children."""
    for entry in entries:
        target = work / entry.path.removeprefix(stem)
        if entry.kind == "directory":
            target.mkdir(exist_ok=True)
        elif entry.kind == "symlink":
            target.symlink_to(entry.link)
        elif entry.kind == "hardlink":
            target.hardlink_to(work / entry.link.removeprefix(stem))
        else:
            with target.open("wb") as file:
                for data in entry.body().data if entry.body is not None else ():
                    file.write(data)
            target.chmod(0o755 if entry.mode & 0o111 else 0o644)
