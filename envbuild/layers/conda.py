"""A conda package as layer entries: what conda would link into the prefix, without linking it.

Rules: conda's and py-rattler's, which the tests compare with.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import normpath
from typing import Final, Literal

from envbuild.errors import ImageError
from envbuild.layers.archive import body_of_bytes, body_of_stretch
from envbuild.layers.conda_archive import CondaArchive, open_conda
from envbuild.layers.conda_paths import CondaPath, list_paths
from envbuild.layers.entry import Entry
from envbuild.layers.pack import has_python
from envbuild.layers.prefix import PrefixTooLongError, replace_in_binary, replace_in_text
from envbuild.layers.scripts import find_root, parse_entry_point, render_conda_script
from envbuild.lock.model import CondaPackage

__all__ = ["LinkPolicy", "read_conda", "read_history"]

LinkPolicy = Literal["refuse", "run", "ignore"]
"""What becomes of packages that want to run a script when they are installed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Install:
    """One package on its way into the prefix: its archive, its place, and what has been made.

    `unchanged` are the members that are installed with the very content that they are packed with.
    """

    archive: CondaArchive
    prefix: str
    root: str
    python_minor: str
    noarch: bool
    unchanged: frozenset[str]
    entries: dict[str, Entry] = field(default_factory=dict)
    rows: dict[str, dict[str, object]] = field(default_factory=dict)

    def relocate(self, path: str) -> str:
        """Return where a packed path goes below the prefix; noarch Python has no place yet."""
        clean = normpath(path)
        if self.noarch:
            if clean.startswith("site-packages/"):
                return f"lib/python{self.python_minor}/{clean}"
            if clean.startswith("python-scripts/"):
                return f"bin/{clean.removeprefix('python-scripts/')}"
        return clean

    def add(self, path: str, row: dict[str, object], entry: Entry) -> None:
        """Add an entry at `path` below the prefix, and its row in the package's record."""
        if self.entries.setdefault(entry.path, entry) is not entry:
            raise self.archive.bad(f"it installs `{path}` twice")
        self.rows[path] = {"_path": path, **row}


def read_conda(
    archive: Path,
    package: CondaPackage,
    *,
    prefix: str,
    python_minor: str,
    link_scripts: LinkPolicy = "refuse",
) -> tuple[Entry, ...]:
    """Return the entries of `package`, whose file is `archive`, installed into `prefix`.

    `prefix` is absolute (`/opt/env`), `python_minor` is that of the environment (`3.11`). The
    package is unpacked once, into a nameless temporary file that lives as long as the entries
    do. Modes are 0755 for what is executable, else 0644.

    Unlike conda and py-rattler, the record in `conda-meta/` says nothing of this machine, nor of
    where the archive came from: what is installed is a function of the archive alone.

    `link_scripts` says what becomes of a package that wants to run a script when it is installed:
    it is refused, its script is left for whoever runs it later, or ignored. A `pre-link` script
    can't run later.

    Raises `ImageError`: `layer.bad-conda` for what is no proper package, `layer.link-script` for
    one whose script is refused, `layer.bad-prefix` for a prefix that its
    binaries have no room for, `layer.site-packages` for a Python that looks elsewhere for its
    packages; and `EnvbuildError` `disk.full`.
    """
    opened = open_conda(archive, package)
    index = opened.read_json("index.json")
    if index is None or not all(isinstance(index.get(key), str) for key in _NAMED):
        raise opened.bad("`info/index.json` does not say its name, version and build")
    link = opened.read_json("link.json") or {}
    paths = list_paths(opened)
    install = _Install(
        archive=opened,
        prefix=prefix,
        root=find_root(prefix),
        python_minor=python_minor,
        noarch=index.get("noarch") == "python",
        unchanged=frozenset(normpath(path.path) for path in paths if not path.placeholder),
    )
    if install.noarch and not has_python(package):
        # Its layer would be taken for every Python's.
        raise opened.bad("it is `noarch: python`, but not in its channel's `noarch`")
    _check_python(install, index)
    for path in paths:
        _add_path(install, path)
    if install.noarch:
        _add_commands(install, link)
    _check_link_scripts(install, str(index["name"]), link_scripts)
    _add_record(install, index)
    return tuple(install.entries[path] for path in sorted(install.entries))


def read_history(prefix: str) -> tuple[Entry, ...]:
    """Return the file by which conda's tools know that `prefix` is an environment, empty."""
    return (Entry(path=f"{find_root(prefix)}/conda-meta/history", kind="file"),)


_NAMED = ("name", "version", "build")
_CHANNEL: Final = "https://channel.invalid"
"""Stands for wherever the package came from. An image's name says nothing of that, so its content
must not either; but py-rattler reads no record without a URL (RFC 2606 reserves `.invalid`)."""


def _check_python(install: _Install, index: dict[str, object]) -> None:
    """Refuse a Python whose site-packages isn't where everything else is put (CEP 17)."""
    said = index.get("python_site_packages_path")
    wanted = f"lib/python{install.python_minor}/site-packages"
    if index["name"] == "python" and said not in {None, wanted}:
        raise ImageError(
            "layer.site-packages",
            f"`{install.archive.package.filename}` looks for packages in `{said}`, "
            f"and they are installed in `{wanted}`",
            hint="ask for a build of Python with the global interpreter lock in the spec",
        )


def _check_link_scripts(install: _Install, name: str, policy: LinkPolicy) -> None:
    refused: dict[LinkPolicy, tuple[str, ...]] = {
        "refuse": ("pre-link", "post-link"),
        "run": ("pre-link",),
        "ignore": (),
    }
    for kind in refused[policy]:
        if f"bin/.{name}-{kind}.sh" in install.rows:
            run = "run" if kind == "post-link" else "ignore"
            raise ImageError(
                "layer.link-script",
                f"the conda package `{install.archive.package.filename}` wants to run a script "
                f"when it is installed (`{kind}`), which the spec does not allow",
                hint=f"ask for a build of `{name}` that has none, or for a wheel, or set "
                f'`link-scripts = "{run}"` in the `[conda]` table of the spec',
            )


def _add_path(install: _Install, path: CondaPath) -> None:
    target = install.relocate(path.path)
    place = f"{install.root}/{target}"
    member = install.archive.members.get(normpath(path.path))
    if path.folder:
        entry = Entry(path=place, kind="directory", mode=0o755)
        install.add(target, {"path_type": "directory"}, entry)
    elif member is None:
        raise install.archive.bad(f"`{path.path}` is in its list of paths, and not in the archive")
    elif member.issym():
        entry = Entry(path=place, kind="symlink", mode=0o777, link=member.linkname)
        install.add(target, _describe(path, path_type="softlink"), entry)
    elif (member.islnk() or member.isreg()) and not member.issparse():
        _add_file(install, path, target, member)
    else:
        raise install.archive.bad(f"`{path.path}` is neither file nor link")


def _describe(path: CondaPath, path_type: str = "hardlink") -> dict[str, object]:
    row: dict[str, object] = {"path_type": path_type}
    if path.sha256:
        row["sha256"] = path.sha256
    if path.size is not None:
        row["size_in_bytes"] = path.size
    if path.placeholder:
        row |= {"prefix_placeholder": path.placeholder, "file_mode": path.file_mode}
    return row


def _add_file(install: _Install, path: CondaPath, target: str, member: tarfile.TarInfo) -> None:
    source = _resolve(install.archive, member)
    if path.size is not None and path.size != source.size:
        raise install.archive.bad(f"`{path.path}` does not have its {path.size} bytes")
    content = install.archive.content
    offset, size, sha256 = source.offset_data, source.size, path.sha256
    if path.placeholder:
        offset, size, sha256 = _append_replaced(install, path, source)
    elif not sha256:
        sha256 = _hash(content.stream(offset, size))
    entry = Entry(
        path=f"{install.root}/{target}",
        kind="file",
        mode=0o755 if source.mode & 0o111 else 0o644,
        size=size,
        body=body_of_stretch(content, offset, size),
    )
    if member.islnk() and not path.placeholder and normpath(source.name) in install.unchanged:
        entry = _link(entry, f"{install.root}/{install.relocate(source.name)}")
    row: dict[str, object] = {} if path.placeholder else {"sha256": sha256}
    row |= _describe(path) | {"sha256_in_prefix": sha256, "size_in_bytes": size}
    install.add(target, row, entry)


def _link(entry: Entry, target: str) -> Entry:
    return Entry(path=entry.path, kind="hardlink", mode=entry.mode, link=target)


def _resolve(archive: CondaArchive, member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return the file that holds a member's content."""
    for _ in range(len(archive.members)):
        if not member.islnk():
            break
        target = archive.members.get(normpath(member.linkname))
        if target is None:
            raise archive.bad(f"`{member.name}` is a link to what is not in the archive")
        member = target
    if not member.isreg():
        raise archive.bad(f"`{member.name}` is linked to, and is not a file")
    return member


def _append_replaced(
    install: _Install, path: CondaPath, source: tarfile.TarInfo
) -> tuple[int, int, str]:
    """Put the file with the real prefix behind the unpacked tar: offset, size, SHA-256 in hex."""
    content = install.archive.content
    replace = replace_in_text if path.file_mode == "text" else replace_in_binary
    packed = content.stream(source.offset_data, source.size)
    offset, digest = content.size, hashlib.sha256()
    try:
        for data in replace(packed, path.placeholder, install.prefix):
            digest.update(data)
            content.write(data)
    except PrefixTooLongError:
        raise ImageError(
            "layer.bad-prefix",
            f"`{install.prefix}` is longer than what `{path.path}` of "
            f"`{install.archive.package.filename}` has room for",
        ) from None
    return offset, content.size - offset, digest.hexdigest()


def _hash(stream: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for data in stream:
        digest.update(data)
    return digest.hexdigest()


def _add_commands(install: _Install, link: dict[str, object]) -> None:
    interpreter = f"{install.prefix}/bin/python{install.python_minor}"
    for text in _list_entry_points(link):
        point = parse_entry_point(text)
        if point is None:
            raise install.archive.bad(f"it has a command that can't be made, `{text}`")
        script = render_conda_script(point, interpreter)
        target = f"bin/{point.name}"
        install.entries.pop(f"{install.root}/{target}", None)
        row: dict[str, object] = {
            "path_type": "unix_python_entry_point",
            "sha256": hashlib.sha256(script).hexdigest(),
            "size_in_bytes": len(script),
        }
        install.add(target, row, _make_file(f"{install.root}/{target}", script, 0o755))


def _list_entry_points(link: dict[str, object]) -> Iterator[str]:
    noarch = link.get("noarch")
    points = noarch.get("entry_points") if isinstance(noarch, dict) else None
    yield from (str(point) for point in points or ())


def _make_file(path: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(path=path, kind="file", mode=mode, size=len(data), body=body_of_bytes(data))


def _add_record(install: _Install, index: dict[str, object]) -> None:
    """Add the record by which conda's tools know what is installed."""
    stem = "-".join(str(index[key]) for key in _NAMED)
    if "/" in stem:
        raise install.archive.bad("its name, version and build make no file name")
    paths = sorted(install.rows)
    file_name = stem + install.archive.suffix
    record = {
        **index,
        "fn": file_name,
        "url": f"{_CHANNEL}/{index.get('subdir', 'noarch')}/{file_name}",
        "channel": _CHANNEL,
        "sha256": install.archive.package.sha256,
        "size": install.archive.size,
        "files": paths,
        "paths_data": {"paths_version": 1, "paths": [install.rows[path] for path in paths]},
        "requested_specs": [],
    }
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    path = f"{install.root}/conda-meta/{stem}.json"
    install.entries[path] = _make_file(path, text.encode())
