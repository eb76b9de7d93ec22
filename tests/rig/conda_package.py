"""Writes conda packages, `.conda` and `.tar.bz2`, as a build tool would; the same bytes each time.

Format: https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["PLACEHOLDER", "Content", "Recipe", "write_package"]

PLACEHOLDER = "/opt/placehold_" + "placehold_" * 21 + "plac"
"""The prefix that packages are built with: 229 characters, more than any real one."""

_TIMESTAMP = 1_700_000_000
"""Seconds; the time of every file and the build time of every package."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """One path of a package: a file (`data`, or the bytes of `source`), or a link to `link`."""

    path: str
    data: bytes = b""
    source: Path | None = None
    mode: int = 0o644
    link: str | None = None
    prefix_mode: str | None = None
    """`text` or `binary` where the content holds `PLACEHOLDER`."""

    def read(self) -> bytes:
        return self.source.read_bytes() if self.source else self.data


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What a package is made of."""

    name: str
    version: str
    contents: Sequence[Content] = ()
    build: str = "h0_0"
    build_number: int = 0
    subdir: str = "noarch"
    depends: Sequence[str] = ()
    constrains: Sequence[str] = ()
    entry_points: Sequence[str] = ()
    noarch: str | None = "generic"
    suffix: str = ".conda"
    extra: Mapping[str, object] = field(default_factory=dict)
    """More fields of index.json."""

    @property
    def stem(self) -> str:
        return f"{self.name}-{self.version}-{self.build}"


def write_package(recipe: Recipe, channel: Path) -> Path:
    """Write the package into its subdir of `channel` and return its path."""
    target = channel / recipe.subdir / f"{recipe.stem}{recipe.suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    contents = sorted(recipe.contents, key=lambda c: c.path)
    info = _describe(recipe, contents)
    if recipe.suffix == ".tar.bz2":
        with tarfile.open(target, "w:bz2", format=tarfile.GNU_FORMAT) as tar:
            _add_all(tar, [*info, *contents])
    else:
        _write_zip(recipe, target, info, contents)
    return target


def _write_zip(
    recipe: Recipe, target: Path, info: Sequence[Content], contents: Sequence[Content]
) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as outer:
        for name, data in (
            ("metadata.json", b'{"conda_pkg_format_version": 2}'),
            (f"pkg-{recipe.stem}.tar.zst", _compress(contents)),
            # Last, as conda's own tools do: a reader gets it with the index in one range request.
            (f"info-{recipe.stem}.tar.zst", _compress(info)),
        ):
            outer.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)


def _compress(contents: Iterable[Content]) -> bytes:
    import zstandard

    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as tar:
        _add_all(tar, contents)
    return zstandard.ZstdCompressor(level=3).compress(plain.getvalue())


def _add_all(tar: tarfile.TarFile, contents: Iterable[Content]) -> None:
    for content in contents:
        member = tarfile.TarInfo(content.path)
        member.mode, member.mtime = content.mode, _TIMESTAMP
        if content.link is not None:
            member.type, member.linkname = tarfile.SYMTYPE, content.link
            tar.addfile(member)
        else:
            data = content.read()
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def _describe(recipe: Recipe, contents: Sequence[Content]) -> list[Content]:
    """Return the package's `info/` folder."""
    known = {c.path: c for c in contents}
    machine = {"linux-64": "x86_64", "linux-aarch64": "aarch64", "osx-arm64": "arm64"}
    index: dict[str, object] = {
        "name": recipe.name,
        "version": recipe.version,
        "build": recipe.build,
        "build_number": recipe.build_number,
        "subdir": recipe.subdir,
        "arch": machine.get(recipe.subdir),
        "platform": None if recipe.subdir == "noarch" else recipe.subdir.partition("-")[0],
        "depends": list(recipe.depends),
        "constrains": list(recipe.constrains),
        "license": "MIT",
        "timestamp": _TIMESTAMP * 1000,
        **recipe.extra,
    }
    if recipe.subdir == "noarch":
        index["noarch"] = recipe.noarch
    described = {
        "index.json": index,
        "about.json": {"summary": f"{recipe.name}, made for tests"},
        "paths.json": {
            "paths": [_describe_path(c, known) for c in contents],
            "paths_version": 1,
        },
    }
    if recipe.noarch == "python":
        described["link.json"] = {
            "noarch": {"type": "python", "entry_points": list(recipe.entry_points)},
            "package_metadata_version": 1,
        }
    info = [
        Content(path=f"info/{name}", data=json.dumps(value, indent=1).encode())
        for name, value in described.items()
    ]
    files = "".join(f"{c.path}\n" for c in contents)
    info.append(Content(path="info/files", data=files.encode()))
    prefixed = [c for c in contents if c.prefix_mode]
    if prefixed:  # what tools older than paths.json read
        lines = [f'"{PLACEHOLDER}" "{c.prefix_mode}" "{c.path}"\n' for c in prefixed]
        info.append(Content(path="info/has_prefix", data="".join(lines).encode()))
    return sorted(info, key=lambda c: c.path)


def _describe_path(content: Content, known: Mapping[str, Content]) -> dict[str, object]:
    described_file: Content | None = content
    if content.link is not None:
        # conda-build follows a link and describes the file at its end.
        end = posixpath.normpath(posixpath.join(posixpath.dirname(content.path), content.link))
        described_file = known.get(end)
    data = described_file.read() if described_file else b""
    described: dict[str, object] = {
        "_path": content.path,
        "path_type": "hardlink" if content.link is None else "softlink",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_in_bytes": len(data),
    }
    if content.prefix_mode:
        described |= {"prefix_placeholder": PLACEHOLDER, "file_mode": content.prefix_mode}
    return described
