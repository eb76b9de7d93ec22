"""What a lock takes from elsewhere than an index: its wheels while locking, and again afterwards.

While a request is resolved, each such package is a stub wheel of a version that no index has
(`pip_job.mark`), with the needs of the real one: so both resolvers treat it as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from envbuild.errors import LockError
from envbuild.lock.build_git import check_out, find_commit, plain_url
from envbuild.lock.build_sdist import fetch_sdist, find_sdist, unpack_sdist
from envbuild.lock.build_wheel import Contents, read_contents
from envbuild.lock.built import Built, Order, build_once
from envbuild.lock.model import LocalTree, PlatformLock, Source, Wheel
from envbuild.lock.pip_job import PipJob, mark, write_stub
from envbuild.lock.pip_markers import holds
from envbuild.lock.provenance import Shop
from envbuild.lock.source_fit import check_fit, fits
from envbuild.lock.source_tree import build_tree, find_requires
from envbuild.lock.tree_config import digest_config
from envbuild.lock.wheel_choice import WheelFile
from envbuild.spec.formats import Direct, Tree, parse_direct, parse_tree

__all__ = ["Gathering", "Piece", "find_file", "gather", "order_git", "order_sdist"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A package from elsewhere: what it is, and what the lock says of it."""

    contents: Contents
    requires: tuple[Wheel, ...] = ()
    source: Source | None = None
    tree: LocalTree | None = None
    note: str = ""

    @property
    def name(self) -> str:
        return self.contents.wheel.name

    def offer(self, folder: Path) -> str:
        """Write the stub that stands for it, and return its version."""
        marked = mark(self.contents.wheel.version)
        write_stub(folder, self.name, marked, metadata=self.contents.metadata)
        return marked


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathering:
    """Gets pieces for one resolution; `root` is the repository's, `old` this platform's lock."""

    job: PipJob
    shop: Shop
    root: Path
    old: PlatformLock | None

    def _is_renewed(self, name: str) -> bool:
        return self.job.upgrade.everything or name in self.job.upgrade.packages

    def _find_old(self, name: str) -> Source | None:
        """Return the source that is locked for `name`, unless it is to be renewed."""
        if self.old is None or self._is_renewed(name):
            return None
        wheels = {wheel.sha256 for wheel in self.old.wheels if wheel.name == name}
        return next((s for s in self.old.sources if s.wheel in wheels), None)

    def check_allowed(self, name: str, what: str) -> None:
        """Raise `LockError` `pip.build-refused` for a package whose code may not run here."""
        if name not in self.job.allowed:
            raise LockError(
                "pip.build-refused",
                f"`{name}` is {what}, and to build it runs its own code on this machine, which "
                f"`envs/{self.job.task}.toml` doesn't allow",
                hint=f'if you trust it, write `build-from-source = ["{name}"]` under `[pip]`, '
                "or add it to that list",
            )

    def take_wheel(self, directs: Sequence[Direct]) -> Piece:
        """Return, of the repository's wheels of one package, the best for the job's machine."""
        job = self.job
        ranked: list[tuple[int, str]] = []
        for direct in directs:
            name = direct.path.rpartition("/")[2]
            rank = fits(
                name, subdir=job.platform.subdir, minor=job.minor, glibc=job.glibc, macos=job.macos
            )
            if rank is not None:
                ranked.append((rank, direct.path))
        if not ranked:
            raise LockError(
                "pip.wheel-foreign",
                f"of `{directs[0].name}` the spec names "
                f"{', '.join(f'`{d.path}`' for d in directs)}, which can't run on "
                f"`{job.platform.subdir}` with Python {job.minor}",
                hint="name a wheel for it, too, or write a marker behind the one there is, such as "
                '`; platform_machine == "x86_64"`',
            )
        path = min(ranked)[1]
        file = find_file(self.root, path, task=job.task)
        contents = read_contents(file)
        if contents.wheel.name != directs[0].name:
            raise LockError(
                "pip.wheel-name",
                f"`{path}` is a wheel of `{contents.wheel.name}`, not of `{directs[0].name}`",
                hint="write the name that it has, or name another wheel",
            )
        return Piece(
            contents=contents,
            source=Source(wheel=contents.wheel.sha256, kind="file", place=path),
            note=f"the file `./{path}` of the repository",
        )

    def build_git(self, direct: Direct) -> Piece:
        """Return what a git repository has at the commit that is locked, or asked for now."""
        self.check_allowed(direct.name, "from a git repository")
        url, old = plain_url(direct), self._find_old(direct.name)
        wanted = ("git", url, direct.reference, direct.subdirectory)
        same = old and (old.kind, old.place, old.reference, old.subdirectory) == wanted
        commit = old.pin if old and same else find_commit(direct, logs=self.job.logs)
        built = self._build(order_git(direct, commit, logs=self.job.logs), old if same else None)
        self._check_name(built, direct.name)
        folder = f" in `{direct.subdirectory}`" if direct.subdirectory else ""
        return Piece(
            contents=built.contents,
            requires=built.requires,
            source=Source(
                wheel=built.contents.wheel.sha256, kind="git", place=url, pin=commit,
                reference=direct.reference, subdirectory=direct.subdirectory,
                requires=_list(built.requires),
            ),
            note=f"built from commit {commit}{folder} of {url}",
        )  # fmt: skip

    def build_sdist(self, name: str, version: str) -> Piece:
        """Return what the source distribution of a version was built into."""
        self.check_allowed(name, "a source distribution")
        file = find_sdist(self.job, name, version)
        old = self._find_old(name)
        same = old and (old.kind, old.place, old.pin) == ("sdist", file.filename, file.sha256)
        order = order_sdist(self.job, file, packages=self.shop.cache.packages)
        built = self._build(order, old if same else None)
        self._check_name(built, name)
        return Piece(
            contents=built.contents,
            requires=built.requires,
            source=Source(
                wheel=built.contents.wheel.sha256, kind="sdist", place=file.filename,
                pin=file.sha256, requires=_list(built.requires),
            ),
            note=f"built from {file.filename}, sha256:{file.sha256}",
        )  # fmt: skip

    def build_tree(self, tree: Tree) -> Piece:
        """Return what a source tree of the repository is now."""
        old = next((t for t in self.old.trees if t.path == tree.path), None) if self.old else None
        kept = None
        if old and self.old and not self._is_renewed(old.name):
            kept = find_requires(self.old.build, old.requires)
        built = build_tree(
            self.root, tree.path, old.name if old else tree.path.rpartition("/")[2],
            shop=self.shop, requires=kept, anew=self.job.upgrade.everything,
        )  # fmt: skip
        name = built.contents.wheel.name
        self._check(built, name)
        return Piece(
            contents=built.contents,
            requires=built.requires,
            tree=LocalTree(
                name=name, path=tree.path, needs=built.contents.needs,
                config=digest_config(self.root, tree.path), requires=_list(built.requires),
            ),
            note=f"the source tree `{tree.path}` of the repository, as it is when it is built",
        )  # fmt: skip

    def _build(self, order: Order, old: Source | None) -> Built:
        kept = find_requires(self.old.build, old.requires) if old and self.old else None
        return build_once(
            order, self.shop, requires=kept, anew=self._is_renewed(order.package)
        )  # fmt: skip

    def _check_name(self, built: Built, name: str) -> None:
        if built.contents.wheel.name != name:
            raise LockError(
                "pip.wheel-name",
                f"what was built for `{name}` calls itself `{built.contents.wheel.name}`",
                hint="write the name that it has",
            )
        self._check(built, name)

    def _check(self, built: Built, name: str) -> None:
        job = self.job
        check_fit(
            built, package=name, task=job.task, subdir=job.platform.subdir, minor=job.minor,
            glibc=job.glibc, macos=job.macos,
        )  # fmt: skip


def _list(wheels: Sequence[Wheel]) -> str:
    return " ".join(sorted(wheel.filename for wheel in wheels))


def order_git(direct: Direct, commit: str, *, logs: Path) -> Order:
    """Return the order to build `commit`."""

    def prepare(folder: Path) -> Path:
        check_out(direct, commit, folder / "git", logs=logs)
        return folder / "git" / direct.subdirectory

    identity = ("git", plain_url(direct), commit, direct.subdirectory)
    return Order(package=direct.name, identity=identity, prepare=prepare)


def order_sdist(job: PipJob, file: WheelFile, *, packages: Path) -> Order:
    """Return the order to build a source distribution."""

    def prepare(folder: Path) -> Path:
        return unpack_sdist(fetch_sdist(job, file, packages=packages), folder)

    return Order(package=file.name, identity=("sdist", file.sha256), prepare=prepare)


def find_file(root: Path, path: str, *, task: str) -> Path:
    """Return the repository's file at `path`. Raises `LockError` `pip.wheel-missing`."""
    file = root / path
    if not file.is_file() or not file.resolve().is_relative_to(root.resolve()):
        raise LockError(
            "pip.wheel-missing",
            f"there is no `{path}` in the repository, which `{task}` is to have",
            hint=f"put it there (and commit it), or correct `envs/{task}.toml`",
        )
    return file


def gather(gathering: Gathering) -> tuple[PipJob, list[Piece]]:
    """Get every package that is asked for by its place, for the job's machine.

    Returns the job with requirements that both resolvers know, and the pieces, whose stubs lie in
    its folder.
    """
    job = gathering.job
    plain: list[str] = []
    directs: dict[str, list[Direct]] = {}
    for text in job.requirements:
        direct = parse_direct(text)
        if direct is None:
            plain.append(text)
        elif holds(direct.marker, job):
            directs.setdefault(direct.name, []).append(direct)
    pieces: list[Piece] = []
    for name, group in directs.items():
        one = group[0]
        piece = gathering.build_git(one) if one.kind == "git" else gathering.take_wheel(group)
        plain.append(_ask(name, {extra for direct in group for extra in direct.extras}))
        pieces.append(piece)
    for tree in map(parse_tree, gathering.shop.spec.pip.local):
        piece = gathering.build_tree(tree)
        plain.append(_ask(piece.name, set(tree.extras)))
        pieces.append(piece)
    _check_once(pieces, job)
    job.stubs.mkdir(parents=True, exist_ok=True)
    fixed = {piece.name: piece.offer(job.stubs) for piece in pieces}
    return replace(job, requirements=tuple(plain), fixed=fixed), pieces


def _ask(name: str, extras: set[str]) -> str:
    return f"{name}[{','.join(sorted(extras))}]" if extras else name


def _check_once(pieces: Sequence[Piece], job: PipJob) -> None:
    seen: set[str] = set()
    for piece in pieces:
        if piece.name in seen or piece.name in job.brought:
            who = "conda brings it, too" if piece.name not in seen else "the spec names it twice"
            raise LockError(
                "pip.twice",
                f"`{piece.name}` is {piece.note}, but {who}",
                hint="leave out one of the two",
            )
        seen.add(piece.name)
