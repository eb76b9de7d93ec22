"""Turns a Debian package into the canonical entries of a layer, without running its scripts.

What becomes of a package (all of it a pure function of that package):

- Paths are those of a merged /usr: `/bin/ls` comes as `/usr/bin/ls`, and the links `bin`, `lib`,
  ... are the skeleton's, so that no package can put a folder in their place. The same goes for
  `/var/run` and `/var/lock`, which are `/run` and `/run/lock`.
- Owner is root everywhere. A set-user-ID or set-group-ID bit stays only where it meant root;
  otherwise it would hand out root's rights in place of another's. Write permission for group and
  others is dropped, but for folders with the sticky bit (`/tmp`).
- Left out are manual pages, info, translations, lintian's overrides, and of /usr/share/doc all but
  copyright files.
- What dpkg keeps of a package is in /var/lib/dpkg/info, as dpkg would have put it there: the list
  of its paths (as they are in the archive), md5sums, conffiles, triggers and scripts. The control
  file is beside them, NAME.control; dpkg's `status` is made from those of all packages.
- What the maintainer script would have made, where it matters, is made from the package's own
  files: layers/debextras.py. What depends on several packages is layers/debfinish.py's.
"""

from __future__ import annotations

import posixpath
import re
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from envbuild.layers.archive import body_of_bytes
from envbuild.layers.debextras import make_extras
from envbuild.layers.debfile import DebFile, bad_deb, open_deb
from envbuild.layers.entry import Entry
from envbuild.lock.debian_index import parse_stanza
from envbuild.lock.model import DebianPackage

__all__ = ["MERGED", "merge_path", "read_deb"]

MERGED: Final[Mapping[str, str]] = {
    "bin": "usr/bin",
    "lib": "usr/lib",
    "lib32": "usr/lib32",
    "lib64": "usr/lib64",
    "libo32": "usr/libo32",
    "libx32": "usr/libx32",
    "sbin": "usr/sbin",
    "var/lock": "run/lock",
    "var/run": "run",
}
"""Folders that are links on a Debian system, and where they lead."""

_LEFT_OUT: Final = re.compile(r"usr/share/(?:man|info|locale|lintian)(?:/|$)")
_DOC: Final = re.compile(r"usr/share/doc/(?P<package>[^/]+)(?:/(?P<file>.*))?")
_INFO: Final = "var/lib/dpkg/info"
_SCRIPTS: Final = frozenset({"preinst", "postinst", "prerm", "postrm", "config"})
_KEPT: Final = frozenset({"control", "conffiles", "md5sums", "templates", "triggers"}) | _SCRIPTS
"""Control files that dpkg needs later on; `shlibs` and `symbols` serve to build packages only."""


def merge_path(path: str) -> str:
    """Return where `path` (relative, clean) is once /usr is merged."""
    for old, new in MERGED.items():
        if path == old or path.startswith(old + "/"):
            return new + path[len(old) :]
    return path


def read_deb(archive: Path, package: DebianPackage) -> tuple[Entry, ...]:
    """Return the entries of a `.deb`, sorted by path.

    Raises `ImageError` `layer.bad-deb` for a file that is none, is another package, or holds what
    a layer can't (devices, paths that leave the root).
    """
    deb = open_deb(archive)
    _check_package(deb, package, archive.name)
    entries: dict[str, Entry] = {}
    files: dict[str, tarfile.TarInfo] = {}
    links: list[tarfile.TarInfo] = []
    for member in deb.members:
        path = merge_path(_clean(member.name, archive.name))
        if member.islnk():
            links.append(member)
        elif member.issym():
            _add_symlink(entries, member, archive.name)
        elif member.isdir():
            if path and not _is_left_out(path, folder=True):
                entries.setdefault(path, _folder(path, member))
        elif member.isreg() and not member.issparse():
            files[path] = member
        else:
            raise bad_deb(archive.name, f"`{member.name}` is neither file, folder nor link")
    _add_files(entries, deb, files, links, archive.name)

    def read(path: str) -> bytes | None:
        return deb.read(files[path]) if path in files else None

    for extra in make_extras(package.name, sorted(files), read):
        entries.setdefault(extra.path, extra)
    for entry in _describe(deb, package):
        entries[entry.path] = entry
    return tuple(entry for _, entry in sorted(entries.items()))


def _check_package(deb: DebFile, package: DebianPackage, name: str) -> None:
    fields = parse_stanza(deb.control.get("control", b"").decode(errors="replace"))
    found = tuple(fields.get(key, "") for key in ("Package", "Version", "Architecture"))
    if found != (package.name, package.version, package.architecture):
        wanted = f"{package.name} {package.version} {package.architecture}"
        raise bad_deb(name, f"it is `{' '.join(found)}`, not `{wanted}`")


def _clean(path: str, name: str) -> str:
    """Return a member's path without `./` at its begin; empty for the root."""
    plain = path.removeprefix("./").strip("/") if path not in {".", "./"} else ""
    if path.startswith("/") or (plain and {"", ".", ".."} & set(plain.split("/"))):
        raise bad_deb(name, f"`{path}` is not a path below the root")
    return plain


def _is_left_out(path: str, *, folder: bool = False) -> bool:
    doc = _DOC.fullmatch(path)
    if doc:
        # A link in place of a package's whole folder leads to the copyright file of another.
        return folder or doc["file"] not in {None, "copyright"}
    return bool(_LEFT_OUT.match(path)) or (folder and path == "usr/share/doc")


def _folder(path: str, member: tarfile.TarInfo) -> Entry:
    return Entry(path=path, kind="directory", mode=_mode(member))


def _mode(member: tarfile.TarInfo) -> int:
    mode = member.mode & 0o7777
    if member.uid != 0:
        mode &= ~stat.S_ISUID
    if member.gid != 0:
        mode &= ~stat.S_ISGID
    if member.isdir() and mode & stat.S_ISVTX:
        return mode
    return mode & ~(stat.S_IWGRP | stat.S_IWOTH)


def _add_symlink(entries: dict[str, Entry], member: tarfile.TarInfo, name: str) -> None:
    old = _clean(member.name, name)
    path = merge_path(old)
    if old in MERGED or _is_left_out(path):
        return
    target = _retarget(old, path, member.linkname)
    if posixpath.normpath(posixpath.join("/", posixpath.dirname(path), target)) != f"/{path}":
        entries[path] = Entry(path=path, kind="symlink", mode=0o777, link=target)


def _retarget(old: str, path: str, target: str) -> str:
    """Return a link's target for its place in a merged /usr.

    A relative one that climbs over a merged folder (`lib/x/a -> ../../usr/b`) would lead
    elsewhere from its new place; an absolute one goes through the links of the skeleton.
    """
    if target.startswith("/"):
        return target
    meant = merge_path(posixpath.normpath(posixpath.join("/", posixpath.dirname(old), target))[1:])
    folder = "/" + posixpath.dirname(path)
    if posixpath.normpath(posixpath.join(folder, target)) == f"/{meant}":
        return target
    return posixpath.relpath(f"/{meant}", folder)


def _add_files(
    entries: dict[str, Entry],
    deb: DebFile,
    files: Mapping[str, tarfile.TarInfo],
    links: list[tarfile.TarInfo],
    name: str,
) -> None:
    """Add files and hard links; the first path of each linked set, in order, has the content."""
    sets: dict[str, list[str]] = {path: [path] for path in files}
    for link in links:
        target = merge_path(_clean(link.linkname, name))
        group = sets.get(target)
        if group is None:
            raise bad_deb(name, f"`{link.name}` is a link to `{link.linkname}`, which it lacks")
        # A link to a link names one of the same set.
        sets[merge_path(_clean(link.name, name))] = group
        group.append(merge_path(_clean(link.name, name)))
    for path, member in files.items():
        kept = sorted(p for p in set(sets[path]) if not _is_left_out(p))
        if not kept:
            continue
        body = deb.body(member)
        mode, size = _mode(member), member.size
        entries[kept[0]] = Entry(path=kept[0], kind="file", mode=mode, size=size, body=body)
        for other in kept[1:]:
            entries[other] = Entry(path=other, kind="hardlink", mode=mode, link=kept[0])


def _describe(deb: DebFile, package: DebianPackage) -> tuple[Entry, ...]:
    """Return what dpkg keeps of an installed package (deb-control(5), dpkg's infodb format 1)."""
    fields = parse_stanza(deb.control["control"].decode(errors="replace"))
    stem = f"{_INFO}/{package.name}"
    if fields.get("Multi-Arch") == "same":
        stem += f":{package.architecture}"
    paths = ("/" + member.name.removeprefix(".").strip("/") for member in deb.members)
    listed = "".join(f"{path if path != '/' else '/.'}\n" for path in paths)
    kept = {name: data for name, data in deb.control.items() if name in _KEPT}
    return (
        _file(f"{stem}.list", listed.encode(errors="surrogateescape")),
        *(_file(f"{stem}.{name}", data, script=name in _SCRIPTS) for name, data in kept.items()),
    )


def _file(path: str, data: bytes, *, script: bool = False) -> Entry:
    mode = 0o755 if script else 0o644
    return Entry(path=path, kind="file", mode=mode, size=len(data), body=body_of_bytes(data))
