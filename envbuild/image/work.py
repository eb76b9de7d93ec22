"""Makes one layer from artifacts that are on this machine: what a worker process is told to do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from envbuild.identity.recipe import Recipe, Source
from envbuild.image.config import LAYER_TYPES, Content, Layer
from envbuild.image.listing import list_files, write_listing
from envbuild.kit.places import Cache
from envbuild.layers.entry import Entry
from envbuild.layers.order import plan_entries
from envbuild.layers.overlaps import order_groups
from envbuild.layers.pack import has_conda, is_compiled
from envbuild.layers.seal import Seal, render_seal
from envbuild.layers.split import split_entries
from envbuild.layers.write import write_layer
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage
from envbuild.oci.descriptor import Descriptor
from envbuild.oci.store import Store

# What reads an artifact is imported for the first of its kind: a change is one wheel, mostly.
if TYPE_CHECKING:
    from envbuild.layers.compiler import Compiler
    from envbuild.layers.conda import LinkPolicy
    from envbuild.layers.source import SourceTree

__all__ = ["LayerJob", "Workbench", "read_artifact"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerJob:
    """One layer to make: its key and history line, what goes in, and where that is.

    `files` maps the SHA-256 of each artifact to its file. `compiler` is the command line of the
    Python that compiles byte code, empty where the recipe wants none. A layer of kind `source` has
    a `source`, whose files `tree` says where to find.
    """

    key: str
    title: str
    kind: Literal["skeleton", "packages", "finish", "source"]
    recipe: Recipe
    artifacts: tuple[Artifact, ...] = ()
    part: int = 0
    parts: int = 1
    files: Mapping[str, Path] = field(default_factory=dict)
    compiler: tuple[str, ...] = ()
    source: Source | None = None
    tree: SourceTree | None = None

    @property
    def size(self) -> int:
        """Bytes of the artifacts' archives or of the files: how much work it is."""
        files = self.source.size if self.source else 0
        return files + sum(artifact.size for artifact in self.artifacts)


class Workbench:
    """Makes layers one after another; keeps the compiling Python alive between them.

    Layers go into the store of `cache`; byte code is kept there, or with `fresh` made anew.
    """

    def __init__(self, cache: Cache, *, fresh: bool = False) -> None:
        self._store = Store(cache.store)
        self._packs = cache.bytecode
        self._listings = cache.listings
        self._fresh = fresh
        self._open = ExitStack()
        self._compilers: dict[tuple[str, ...], Compiler] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def make(self, job: LayerJob, check: Callable[[], None] = lambda: None) -> Layer:
        """Write the job's layer into the store; `check` raises where the work is to end.

        Raises `ImageError` for an artifact that can't be unpacked, or files that can't be read.
        """
        groups, contents = self._read(job)
        packages = job.kind == "packages"
        order = order_groups(job.artifacts, groups) if packages else range(len(groups))
        self._list(job, [(job.artifacts[n], groups[n]) for n in order] if packages else [])
        names = [job.artifacts[number].name for number in order] if packages else []
        planned = plan_entries([groups[number] for number in order], names=names)
        entries = split_entries(planned, part=job.part, parts=job.parts)
        compression = job.recipe.format.compression
        with self._store.writer() as blob:

            def write(data: bytes) -> None:
                check()
                blob.write(data)

            facts = write_layer(entries, write, compression=compression)
            seal = Seal(key=job.key, diff_id=facts.diff_id, plain_size=facts.plain_size)
            blob.write(render_seal(seal, compression))
        return Layer(
            key=job.key,
            title=job.title,
            blob=Descriptor(
                media_type=LAYER_TYPES[job.recipe.format], digest=blob.digest, size=blob.size
            ),
            diff_id=facts.diff_id,
            plain_size=facts.plain_size,
            contents=contents,
        )

    def _read(self, job: LayerJob) -> tuple[list[tuple[Entry, ...]], tuple[Content, ...]]:
        """Return the entries of each artifact with its byte code, and what they come to."""
        recipe = job.recipe
        if job.kind == "skeleton":
            return _read_skeleton(recipe), ()
        if job.source is not None and job.tree is not None:
            return self._read_source(job, job.source, job.tree)
        groups, contents = [], []
        for artifact in job.artifacts:
            entries = read_artifact(
                artifact,
                job.files[artifact.sha256],
                prefix=recipe.prefix,
                python_minor=recipe.python_minor,
                link_scripts=recipe.link_scripts,
            )
            if job.kind == "packages":
                entries = (*entries, *self._compile(job, artifact, entries))
                contents.append(_count(artifact, entries))
            groups.append(entries)
        if job.kind == "finish":
            from envbuild.layers.debfinish import read_finish

            user = recipe.settings.user
            return [read_finish(groups, base=recipe.base.kind, user=user)], ()
        return groups, tuple(contents)

    def _read_source(
        self, job: LayerJob, source: Source, tree: SourceTree
    ) -> tuple[list[tuple[Entry, ...]], tuple[Content, ...]]:
        from envbuild.layers.source import find_folders, read_source

        entries = read_source(tree, source.target)
        write_listing(self._listings, job.key, [(source, list_files(entries))])
        content = Content(
            kind="source", name=source.target, version="", files=len(entries), size=source.size
        )
        return [find_folders(job.recipe, source.target), entries], (content,)

    def _list(self, job: LayerJob, groups: Sequence[tuple[Artifact, Sequence[Entry]]]) -> None:
        """Keep what the packages bring, apart from Debian's: dpkg lets no two bring one path."""
        files = [(a, list_files(g)) for a, g in groups if not isinstance(a, DebianPackage)]
        if files:
            write_listing(self._listings, job.key, files)

    def _compile(
        self, job: LayerJob, artifact: Artifact, entries: tuple[Entry, ...]
    ) -> tuple[Entry, ...]:
        """Return the artifact's byte code, made once per artifact and place and then kept."""
        if not job.compiler or not is_compiled(job.recipe, artifact):
            return ()
        from envbuild.layers.bytecode import compile_entries, find_sources

        sources = find_sources(entries, python_minor=job.recipe.python_minor)
        said = f"{artifact.sha256} {job.recipe.prefix} {job.recipe.bytecode}"
        pack = self._packs / hashlib.sha256(said.encode()).hexdigest()
        if self._fresh:
            pack.unlink(missing_ok=True)
        return compile_entries(sources, self._find_compiler(job), pack=pack)

    def _find_compiler(self, job: LayerJob) -> Compiler:
        from envbuild.layers.compiler import Compiler

        if job.compiler not in self._compilers:
            compiler = Compiler(job.compiler, version=job.recipe.bytecode)
            self._compilers[job.compiler] = self._open.enter_context(compiler)
        return self._compilers[job.compiler]


def _read_skeleton(recipe: Recipe) -> list[tuple[Entry, ...]]:
    from envbuild.layers.conda import read_history
    from envbuild.layers.skeleton import read_skeleton

    return [read_skeleton(recipe), *([read_history(recipe.prefix)] if has_conda(recipe) else [])]


def read_artifact(
    artifact: Artifact,
    file: Path,
    *,
    prefix: str,
    python_minor: str,
    link_scripts: LinkPolicy = "refuse",
) -> tuple[Entry, ...]:
    """Return the entries of one artifact at `prefix`."""
    if isinstance(artifact, DebianPackage):
        from envbuild.layers.deb import read_deb

        return read_deb(file, artifact)
    if isinstance(artifact, CondaPackage):
        from envbuild.layers.conda import read_conda

        return read_conda(
            file, artifact, prefix=prefix, python_minor=python_minor, link_scripts=link_scripts
        )
    from envbuild.layers.wheel import read_wheel

    return read_wheel(file, artifact, prefix=prefix, python_minor=python_minor)


def _count(artifact: Artifact, entries: Iterable[Entry]) -> Content:
    files = [entry for entry in entries if entry.kind == "file"]
    kinds: dict[type[Artifact], str] = {CondaPackage: "conda", DebianPackage: "debian"}
    return Content(
        kind=kinds.get(type(artifact), "pip"),
        name=artifact.name,
        version=artifact.version,
        files=len(files),
        size=sum(entry.size for entry in files),
    )
