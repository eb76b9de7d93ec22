"""Byte code for a layer: what Python would otherwise compile at the first import, in every start.

The image's files have no time, and its user mostly may not write to them. So the byte code is of
the kind that Python takes as it is (PEP 552, hash-based and unchecked).
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from envbuild.errors import ImageError
from envbuild.layers.bytepack import read_pack, write_pack
from envbuild.layers.compiler import Compiler
from envbuild.layers.entry import Entry
from envbuild.layers.gzip import StreamError, inflate_whole

__all__ = ["Compiler", "compile_entries", "find_sources"]

_VERSION: Final = 1
"""Of what is compiled and how; a pack of another version is made again."""

_LIBRARY: Final = re.compile(
    r"(?:^|/)(?:(?:lib|lib64)/python(?P<minor>\d+\.\d+)/|(?:site|dist)-packages/)"
)
"""Below it, Python finds modules: its own library, or that of somebody else."""

_HEADER: Final = struct.Struct("<4sIII")
"""Of a `.pyc`: magic number, flags, and without flags the source's time and size."""

_LINKS: Final = 8
"""Links that are followed from one name to a file, at most."""


def find_sources(entries: Iterable[Entry], *, python_minor: str) -> tuple[Entry, ...]:
    """Return the modules among one artifact's `entries` that lack byte code, sorted by path.

    Those are all `.py` files below `site-packages` or `dist-packages`, or in the library of
    `python_minor`; links come as the files that they lead to. Byte code of an artifact's own stays
    where Python would take it: if it is hash-based, or made for a source without a time, as all
    files of a layer are. Conda packages have it by the time that their sources once had.
    """
    known = {entry.path: entry for entry in entries}
    found = []
    for path in sorted(known):
        if path.endswith(".py") and _is_module(path, python_minor):
            source = _follow(known, path)
            own = known.get(_cache_path(path, python_minor))
            if source is not None and not (own and _is_current(own, source.size)):
                found.append(replace(source, path=path))
    return tuple(found)


def compile_entries(
    entries: Iterable[Entry], compiler: Compiler, *, pack: Path
) -> tuple[Entry, ...]:
    """Return the byte code of one artifact's `entries` as entries, sorted by path.

    A source that doesn't compile has none. The contents are kept in the file `pack`, which the
    caller names by all that they depend on: the artifact, where it is installed, and the version
    of `compiler`. Where it is there already and whole, nothing is compiled. Raises `ImageError`
    `bytecode.died` and `bytecode.interpreter` as `compiler` does, and `layer.bad-content`.
    """
    sources = find_sources(entries, python_minor=compiler.minor)
    if not sources:
        return ()
    label = _label(sources, compiler.version)
    made = read_pack(pack, label=label)
    if made is None:
        made = write_pack(pack, _compile(sources, compiler), label=label)
    return made


def _is_module(path: str, python_minor: str) -> bool:
    """Tell whether `path` is below a library, and that is not another Python's."""
    places = list(_LIBRARY.finditer(path))
    minors = {place["minor"] for place in places if place["minor"]}
    return bool(places) and minors <= {python_minor} and "/__pycache__/" not in path


def _follow(entries: Mapping[str, Entry], path: str) -> Entry | None:
    """Return the file that `path` names in the end, if the same artifact brings that."""
    for _ in range(_LINKS):
        entry = entries.get(path)
        if entry is None or entry.kind == "directory":
            return None
        if entry.kind == "file":
            return entry
        if entry.kind == "hardlink":
            path = entry.link
        else:
            path = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), entry.link))[1:]
    return None


def _cache_path(path: str, python_minor: str) -> str:
    """Return where Python keeps the byte code of the module at `path` (PEP 3147)."""
    folder, name = posixpath.split(path)
    tag = f"cpython-{python_minor.replace('.', '')}"
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc"


def _is_current(own: Entry, source_size: int) -> bool:
    """Tell whether Python would take this `.pyc` for a source with no time (1970)."""
    if own.kind != "file" or own.body is None or own.size < _HEADER.size:
        return False
    _, flags, time, size = _HEADER.unpack(_read(own)[: _HEADER.size])
    return bool(flags) or (time, size) == (0, source_size & 0xFFFFFFFF)


def _label(sources: Sequence[Entry], version: str) -> str:
    said = "".join(f"{entry.path}\0{entry.size}\n" for entry in sources)
    digest = hashlib.sha256(said.encode(errors="surrogateescape")).hexdigest()
    return f"{_VERSION} {version} {digest}"


def _compile(sources: Sequence[Entry], compiler: Compiler) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each byte code that can be made."""
    files = ((f"/{source.path}", _read(source)) for source in sources)
    for source, data in zip(sources, compiler.compile_many(files), strict=True):
        if data is not None:
            yield _cache_path(source.path, compiler.minor), data


def _read(entry: Entry) -> bytes:
    """Return a file's whole content, checked as the layer's writer does."""
    if entry.body is None:
        return b""
    piece = entry.body()
    data = b"".join(piece.data)
    try:
        return inflate_whole(data, piece.size, piece.crc32) if piece.deflated else data
    except StreamError as error:
        raise ImageError(
            "layer.bad-content",
            f"{piece.source or f'`{entry.path}`'} {error}",
            hint="the archive is not what its publisher meant it to be: tell them, "
            "or ask for another version in the spec",
        ) from None
