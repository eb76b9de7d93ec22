"""Locks Debian packages: the closure of the wanted names over a suite's verified indexes.

Packages are unpacked and no maintainer script ever runs, so what only such scripts need is left
out (`ONLY_FOR_SCRIPTS`), unless apt itself is wanted, to run such scripts later. Nothing is
backtracked: as for apt, each package has one candidate, the highest version, and each dependency
takes its first alternative that can be had.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from envbuild.errors import EnvbuildError, LockError
from envbuild.kit.canonical import digest_file
from envbuild.kit.fetch import fetch_file
from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress, Silent
from envbuild.kit.urls import strip_credentials
from envbuild.lock.apt_auth import find_login
from envbuild.lock.apt_sources import find_apt_config
from envbuild.lock.archive import find_archives, load_archives
from envbuild.lock.debian_index import Candidate, PackageIndex, load_index
from envbuild.lock.debian_relations import Relation
from envbuild.lock.model import DebianPackage

if TYPE_CHECKING:
    from envbuild.spec.settings import Settings

__all__ = [
    "BASE_PACKAGES",
    "ESSENTIAL",
    "ONLY_FOR_SCRIPTS",
    "ONLY_FOR_SCRIPTS_OF",
    "WHOLE_SYSTEM",
    "fetch_debian",
    "plan_debian",
    "resolve_debian",
]

BASE_PACKAGES: Final = (
    "base-files",  # the folders, os-release, the licences that copyright files refer to
    "bash",
    "ca-certificates",
    "coreutils",
    "dash",  # /bin/sh
    "findutils",
    "grep",
    "libc-bin",  # ldconfig, getconf, and the locale C.UTF-8
    "libc6",
    "libgcc-s1",  # wheels and conda packages expect these two,
    "libstdc++6",  # as the manylinux policies allow
    "ncurses-base",  # terminals, for readline and curses
    "netbase",  # /etc/services and /etc/protocols
    "sed",
    "tzdata",  # Python's zoneinfo reads it
    "zlib1g",
)
"""What `debian:SUITE` consists of, with its closure: enough to run programs and to look around."""

ONLY_FOR_SCRIPTS: Final = frozenset(
    {
        "adduser",
        "cdebconf",
        "debconf",
        "debconf-2.0",
        "dpkg",
        "init-system-helpers",
        "install-info",
        "ucf",
    }
)
"""Tools of maintainer scripts: never pulled in by a dependency, only when asked for by name."""

ONLY_FOR_SCRIPTS_OF: Final = {"ca-certificates": frozenset({"openssl"})}
"""The same for one package: its script hashes certificates, and the bundle needs no hashes."""

WHOLE_SYSTEM: Final = frozenset({"apt"})
"""Asked for by name, these want to install more in a container, and so need all that scripts need:
nothing is left out then, and what Debian calls essential is there."""

ESSENTIAL: Final = (
    "base-files", "base-passwd", "bash", "bsdutils", "coreutils", "dash", "debianutils",
    "diffutils", "dpkg", "findutils", "grep", "gzip", "hostname", "init-system-helpers",
    "libc-bin", "login", "ncurses-base", "ncurses-bin", "perl-base", "sed", "sysvinit-utils",
    "tar", "util-linux",
)  # fmt: skip
"""Packages on which others may rely without a dependency (Debian Policy Manual, section 3.8)."""

_PYTHON: Final = re.compile(r"python3\.(\d+)")


def resolve_debian(
    names: Sequence[str],
    *,
    suite: str,
    architecture: str,
    settings: Settings,
    cache: Cache,
    progress: Progress | None = None,
    task: str = "",
) -> tuple[DebianPackage, ...]:
    """Return `names` and all they depend on, by name, as `suite` has them now for `architecture`.

    Reads the archives' indexes, from the cache where they didn't change. Raises what
    `load_archives` and `plan_debian` raise.
    """
    watcher = progress or Silent()
    archives = load_archives(
        suite, architecture, settings=settings, cache=cache, progress=watcher, task=task
    )
    files = tuple(file for archive in archives for file in archive.files)
    watcher.update(task, f"choosing packages of Debian {suite}")
    return plan_debian(load_index(files), names, where=f"{suite} ({architecture})")


def plan_debian(
    index: PackageIndex, names: Iterable[str], *, where: str
) -> tuple[DebianPackage, ...]:
    """Return the closure of `names` over Pre-Depends and Depends, sorted by name.

    `where` names suite and architecture in messages. Raises `LockError`: `lock.debian-unknown`
    (nearest names in the hint), `lock.debian-ambiguous` (a virtual package with several
    providers), `lock.debian-unsatisfiable`, `lock.debian-conflict`.
    """
    asked = set(names)
    whole = bool(asked & WHOLE_SYSTEM)
    if whole:
        asked |= {name for name in ESSENTIAL if index.find(name) is not None}
    closure = _Closure(index, where, whole=whole)
    closure.start(sorted(asked))
    closure.grow()
    closure.check_conflicts()
    return tuple(c.package for _, c in sorted(closure.chosen.items()))


class _Closure:
    """The packages chosen so far, and those whose needs are still to be met."""

    def __init__(self, index: PackageIndex, where: str, *, whole: bool) -> None:
        self._index = index
        self._where = where
        self._whole = whole
        self._todo: deque[Candidate] = deque()
        self.chosen: dict[str, Candidate] = {}

    def start(self, names: Sequence[str]) -> None:
        """Choose what was asked for: all of it, before any need decides between alternatives."""
        unknown: list[str] = []
        for name in names:
            found = self._index.find(name) or self._find_only_provider(name)
            if found is None:
                unknown.append(name)
            else:
                self._choose(found)
        if unknown:
            raise _unknown(unknown, self._index, self._where)

    def _find_only_provider(self, name: str) -> Candidate | None:
        providers = self._index.find_providers(name)
        if len(providers) > 1:
            some = ", ".join(f"`{provider.name}`" for provider in providers[:8])
            raise LockError(
                "lock.debian-ambiguous",
                f"`{name}` is no package of Debian {self._where} but a name for several",
                hint=f"name one of those that provide it: {some}",
            )
        return providers[0] if providers else None

    def _choose(self, candidate: Candidate) -> None:
        if candidate.name not in self.chosen:
            self.chosen[candidate.name] = candidate
            self._todo.append(candidate)

    def grow(self) -> None:
        """Meet the needs of all chosen packages, the ones first that were chosen first."""
        while self._todo:
            candidate = self._todo.popleft()
            for group in candidate.needs:
                if self._whole or not _is_for_scripts(candidate, group):
                    self._choose(self._meet(candidate, group))

    def _meet(self, candidate: Candidate, group: Sequence[Relation]) -> Candidate:
        for offers in (self._find_chosen, self._find_any):
            for relation in group:
                found = offers(relation)
                if found is not None:
                    return found
        raise self._unsatisfiable(candidate, group)

    def _find_chosen(self, relation: Relation) -> Candidate | None:
        return next(self._find_all_chosen(relation), None)

    def _find_all_chosen(self, relation: Relation, *, besides: str = "") -> Iterator[Candidate]:
        names = (relation.name, *(p.name for p in self._index.find_providers(relation.name)))
        for name in dict.fromkeys(names):
            candidate = self.chosen.get(name) if name != besides else None
            if candidate is not None and candidate.satisfies(relation):
                yield candidate

    def _find_any(self, relation: Relation) -> Candidate | None:
        own = self._index.find(relation.name)
        if own is not None and own.satisfies(relation):
            return own
        providers = self._index.find_providers(relation.name)
        return next((p for p in providers if p.satisfies(relation)), None)

    def _unsatisfiable(self, candidate: Candidate, group: Sequence[Relation]) -> LockError:
        wanted = " | ".join(str(relation) for relation in group)
        highest = [c for r in group if (c := self._index.find(r.name)) is not None]
        has = ", ".join(f"`{c.name}` {c.version}" for c in highest) or "none of these names"
        return LockError(
            "lock.debian-unsatisfiable",
            f"`{candidate.name}` {candidate.version} needs `{wanted}`, and Debian {self._where} "
            f"has {has}",
            hint="the archive may be in the middle of an update, or an archive is missing among "
            "apt's sources or the `debian-archives` in `[tool.envbuild]`",
        )

    def check_conflicts(self) -> None:
        """Refuse packages that can't be installed together."""
        for candidate in self.chosen.values():
            for relation in candidate.refuses:
                # It may refuse a name that it provides itself: then it means all others.
                for other in self._find_all_chosen(relation, besides=candidate.name):
                    raise LockError(
                        "lock.debian-conflict",
                        f"`{candidate.name}` can't be installed together with `{other.name}`: it "
                        f"conflicts with `{relation}` in Debian {self._where}",
                        hint="take one of them, or what depends on it, out of `system.packages`",
                    )


def _is_for_scripts(candidate: Candidate, group: Sequence[Relation]) -> bool:
    # Any alternative that only a script would use shows that the whole need is a script's.
    own = ONLY_FOR_SCRIPTS_OF.get(candidate.name, frozenset())
    return any(relation.name in ONLY_FOR_SCRIPTS or relation.name in own for relation in group)


def _unknown(names: Sequence[str], index: PackageIndex, where: str) -> LockError:
    known = list(index.names())
    hints: list[str] = []
    for name in names:
        if _PYTHON.fullmatch(name):
            near = sorted((n for n in known if _PYTHON.fullmatch(n)), key=_minor)
            hints.append(f"Debian {where} has {_quote(near)} only; other versions of Python are "
                         "in conda's channels")  # fmt: skip
            continue
        # The nearest of 60 000 names: those of another length can't be near.
        similar = [n for n in known if abs(len(n) - len(name)) <= 3]
        near = get_close_matches(name, similar, n=3)
        if near:
            hints.append(f"for `{name}`, did you mean {_quote(near)}?")
    words = "is no package" if len(names) == 1 else "are no packages"
    return LockError(
        "lock.debian-unknown",
        f"{_quote(names)} {words} of Debian {where}",
        hint="; ".join(hints) or "to find a package by a word, run `apt-cache search WORD`",
    )


def _minor(name: str) -> int:
    return int(name.rpartition(".")[2])


def _quote(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing of that name"


def fetch_debian(
    package: DebianPackage,
    *,
    suite: str,
    settings: Settings,
    cache: Cache,
    progress: Progress | None = None,
    task: str = "",
) -> Path:
    """Return the package's file in the cache, downloaded from an archive of `suite` if need be.

    Raises `LockError` `lock.artifact-gone` if no archive has it any more, `lock.no-archive`, and
    what `fetch_file` raises.
    """
    target = cache.package(package.sha256, package.filename)
    if target.is_file() and digest_file(target) == f"sha256:{package.sha256}":
        return target
    roots = dict.fromkeys(source.root for source in find_archives(settings, suite))
    try:
        return fetch_file(
            [f"{root}/{package.path}" for root in roots],
            sha256=package.sha256, target=target, size=package.size,
            progress=progress or Silent(), task=task,
            own=partial(find_login, config=find_apt_config()),
        )  # fmt: skip
    except EnvbuildError as error:
        if error.code != "fetch.gone":
            raise
        places = ", ".join(f"`{strip_credentials(root)}`" for root in roots)
        raise LockError(
            "lock.artifact-gone",
            f"`{package.filename}` is locked, but no archive has it any more (asked: {places})",
            hint="to lock the versions that the archive has now, run "
            f"`nox -s lock -- {task or 'NAME'} --upgrade`",
        ) from error
