"""What matters of a base image's file system: its links and programs, layer upon layer.

Rules of layers: OCI image specification 1.1, `layer.md` (whiteouts, and what replaces what).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from envbuild.lock.tar_stream import Member

__all__ = ["BaseTree", "Leaf"]

_OS: Final = re.compile(r"(?:etc|usr/lib)/os-release")
_DPKG: Final = re.compile(r"var/lib/dpkg/status(?:\.d/.+)?")
_APK: Final = re.compile(r"(?:usr/)?lib/apk/db/installed")
_LIBC: Final = re.compile(r"libc\.so\.6|libc-2\.\d+\.so")
_PYTHON: Final = re.compile(r"python\d?(?:\.\d+)?|libpython\d\.\d+[a-z]*\.so(?:\.\d+)*")
_LOADER: Final = re.compile(r"ld-(?:linux|musl)[\w.-]*\.so\.\d+")

_PACKAGES: Final = re.compile(r"libc6|musl|python\d\.\d+-minimal|python3")

_GLIBC_SAYS: Final = re.compile(rb"GNU C Library [^\n\0]*?version (\d+\.\d+)")
_PYTHON_SAYS: Final = re.compile(rb"(?<![\d.])([23]\.\d+\.\d+(?:(?:a|b|rc)\d+)?)\0")
"""A linker lets one string be the end of another, so what comes before is not always a NUL."""
_LARGEST: Final = 256 << 20
"""Bytes of a file that is looked into; interpreters and C libraries are far smaller."""

_MOST_LINKS: Final = 40
"""Links followed on one path, as Linux does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    """A file or a link. `target` is the link's, and None for a file.

    `says` is what was found in the file: the whole of `os-release`, `NAME=VERSION` of packages in
    dpkg's and apk's databases, versions in a program or library; separated by white space.
    """

    target: str | None = None
    program: bool = False
    says: str = ""
    layer: int = field(default=0, compare=False)


class BaseTree:
    """A file system under construction: `add` members of one layer, then `end_layer`."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}
        self._layer = 0

    @staticmethod
    def wants(member: Member) -> bool:
        """Return whether the member's body is looked into."""
        path = member.name.strip("./")
        name = path.rpartition("/")[2]
        if member.size > _LARGEST:
            return False
        return bool(_is_text(path) or _LIBC.fullmatch(name) or _is_python(name, member.mode))

    def add(self, member: Member, body: bytes) -> None:
        """Take a member of the present layer, with its body if `wants` said so."""
        parts = [part for part in member.name.split("/") if part not in {"", "."}]
        if not parts or ".." in parts:
            return
        *above, name = parts
        folder = self._open(above)
        if name == ".wh..wh..opq":
            self._hide_all(folder)
        elif name.startswith(".wh."):
            self._hide(folder, name.removeprefix(".wh."))
        elif member.isdir():
            if not isinstance(folder.get(name), dict):
                folder[name] = {}
        else:
            leaf = self._describe(member, "/".join(parts), body)
            folder.pop(name, None)
            if leaf is not None:
                folder[name] = leaf

    def end_layer(self) -> None:
        """Say that what follows belongs to the next layer."""
        self._layer += 1

    def find(self, path: str) -> tuple[str, Leaf] | None:
        """Return the file that an absolute path leads to, links followed, and its own path."""
        found = self._walk(path)
        return (found[0], found[1]) if found and found[1] else None

    def leaves(self) -> Iterator[tuple[str, Leaf]]:
        """Give every file and link, sorted by absolute path."""
        yield from _leaves("", self._root)

    def copy(self) -> BaseTree:
        """Return another tree with the same in it, which lives on its own."""
        tree = BaseTree()
        tree._root, tree._layer = _copy(self._root), self._layer
        return tree

    def freeze(self) -> list[list[object]]:
        """Return the tree as values for JSON."""
        return [[path, leaf.target, leaf.program, leaf.says] for path, leaf in self.leaves()]

    @classmethod
    def thaw(cls, rows: list[list[Any]]) -> BaseTree:
        """Return the tree that `freeze` gave the rows of."""
        tree = cls()
        for path, target, program, says in rows:
            *above, name = str(path).strip("/").split("/")
            folder = tree._root
            for part in above:
                folder = folder.setdefault(part, {})
            folder[name] = Leaf(target=target, program=bool(program), says=str(says))
        return tree

    def _open(self, parts: list[str]) -> dict[str, Any]:
        """Return the folder at `parts`, made where it is not there; links to folders are kept."""
        folder, place = self._root, ""
        for part in parts:
            place = f"{place}/{part}"
            node = folder.get(part)
            if isinstance(node, Leaf) and node.target is not None:
                found = self._resolve(place)
                node = self._open(found) if found is not None else None
            if not isinstance(node, dict):
                node = folder[part] = {}
            folder = node
        return folder

    def _describe(self, member: Member, path: str, body: bytes) -> Leaf | None:
        """Return the leaf to keep; None for a file without any meaning here."""
        if member.issym():
            return Leaf(target=member.linkname, layer=self._layer)
        if member.islnk():
            found = self._walk("/" + member.linkname)
            kept = found[1] if found else None
            return None if kept is None else _in_layer(kept, self._layer)
        name = path.rpartition("/")[2]
        program = bool(member.mode & 0o111)
        says = _look_into(path, name, member.mode, body)
        kept_file = program or says or _LIBC.fullmatch(name) or _LOADER.fullmatch(name)
        if not member.isreg() or not kept_file:
            return None
        return Leaf(program=program, says=says, layer=self._layer)

    def _hide_all(self, folder: dict[str, Any]) -> None:
        for name in list(folder):
            self._hide(folder, name)

    def _hide(self, folder: dict[str, Any], name: str) -> None:
        """Remove what lower layers have at `name`; what this layer has stays."""
        node = folder.get(name)
        if isinstance(node, dict):
            self._hide_all(node)
            if not node:
                del folder[name]
        elif isinstance(node, Leaf) and node.layer < self._layer:
            del folder[name]

    def _resolve(self, path: str) -> list[str] | None:
        """Return the parts of a path without links; None where links lead in a circle."""
        todo = [part for part in path.split("/") if part][::-1]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part in {".", ".."}:
                del done[len(done) - (part == "..") :]
                continue
            node: Any = self._root
            for step in (*done, part):
                node = node.get(step) if isinstance(node, dict) else None
            if isinstance(node, Leaf) and node.target is not None:
                links += 1
                if links > _MOST_LINKS:
                    return None
                if node.target.startswith("/"):
                    done = []
                todo += [part for part in node.target.split("/") if part][::-1]
            else:
                done.append(part)
        return done

    def _walk(self, path: str) -> tuple[str, Leaf | None] | None:
        parts = self._resolve(path)
        if parts is None:
            return None
        node: Any = self._root
        for part in parts:
            node = node.get(part) if isinstance(node, dict) else None
        if node is None:
            return None
        place = str(PurePosixPath("/", *parts))
        return (place, node) if isinstance(node, Leaf) else (place, None)


def _copy(folder: dict[str, Any]) -> dict[str, Any]:
    return {name: _copy(n) if isinstance(n, dict) else n for name, n in folder.items()}


def _in_layer(leaf: Leaf, layer: int) -> Leaf:
    return Leaf(target=leaf.target, program=leaf.program, says=leaf.says, layer=layer)


def _is_python(name: str, mode: int) -> bool:
    """Return whether a file may be an interpreter or hold one; libraries may lack the x bit."""
    return bool(_PYTHON.fullmatch(name)) and (name.startswith("lib") or bool(mode & 0o111))


def _is_text(path: str) -> bool:
    return any(kind.fullmatch(path) for kind in (_OS, _DPKG, _APK))


def _look_into(path: str, name: str, mode: int, body: bytes) -> str:
    if _OS.fullmatch(path):
        return body.decode("utf-8", "replace")
    if _DPKG.fullmatch(path):
        return _read_packages(body, "Package: ", "Version: ")
    if _APK.fullmatch(path):
        return _read_packages(body, "P:", "V:")
    if _LIBC.fullmatch(name):
        return _join(_GLIBC_SAYS.findall(body))
    if _is_python(name, mode):
        return _join(_PYTHON_SAYS.findall(body))
    return ""


def _read_packages(body: bytes, name: str, version: str) -> str:
    """Return `NAME=VERSION` of the packages that matter, as dpkg's or apk's database has them."""
    found = []
    for block in body.decode("utf-8", "replace").split("\n\n"):
        lines = block.splitlines()
        said = {
            key: line.removeprefix(key)
            for key in (name, version, "Status: ")
            for line in lines
            if line.startswith(key)
        }
        installed = said.get("Status: ", " installed").endswith(" installed")
        if installed and version in said and _PACKAGES.fullmatch(said.get(name, "")):
            found.append(f"{said[name]}={said[version]}")
    return "\n".join(found)


def _join(found: list[bytes]) -> str:
    return " ".join(sorted({version.decode() for version in found}))


def _leaves(place: str, folder: Mapping[str, Any]) -> Iterator[tuple[str, Leaf]]:
    for name in sorted(folder):
        node = folder[name]
        if isinstance(node, Leaf):
            yield f"{place}/{name}", node
        else:
            yield from _leaves(f"{place}/{name}", node)
