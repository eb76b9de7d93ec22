"""A wheel as layer entries: what an installer would put in the prefix, without installing it.

Rules: PyPA's "Binary distribution format" and "Recording installed projects"; where they leave
something open, pip's way.
"""

from __future__ import annotations

import posixpath
import re
import stat
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from isal import isal_zlib

from envbuild.errors import ImageError
from envbuild.layers.archive import STEP, Archive, body_of_bytes, is_bomb
from envbuild.layers.entry import Entry, Piece
from envbuild.layers.gzip import StreamError, inflate_whole
from envbuild.layers.record import Row, decode_sha256, make_row, parse_record, render_record
from envbuild.layers.scripts import (
    EntryPoint,
    find_root,
    parse_entry_point,
    render_wheel_script,
    rewrite_interpreter,
)
from envbuild.lock.model import Wheel

__all__ = ["read_wheel"]

_INSTALLER: Final = b"envbuild\n"
_INSTALL_TIME: Final = frozenset({"INSTALLER", "REQUESTED", "direct_url.json"})
"""Files of `.dist-info` that tell of one installation; a wheel that has them is not believed."""

_CHECKED: Final = 64 << 10
"""RECORD's hashes are checked up to this size; beyond it, the zip's CRC-32 and the lock's hash of
the whole wheel must do: a second hash of everything would cost a sixth of a build."""

_CONTROL: Final = re.compile(r"[\x00-\x1f]")
_ENCRYPTED: Final = 0x1
_UNCLEAN: Final = re.compile(r"/\.?/")
_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
_AHEAD: Final = 32
"""Bytes of a local header's extra field that are counted on. What follows the last member, the
directory and its end, is longer than that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Places:
    """Where things go: the prefix as an absolute path and the folders as a layer's paths."""

    prefix: str
    root: str
    library: str
    schemes: Mapping[str, str]

    @property
    def interpreter(self) -> str:
        return f"{self.prefix}/bin/python"

    def relate(self, path: str) -> str:
        """Return `path` relative to site-packages, as RECORD has it."""
        if path.startswith(self.library + "/"):
            return path[len(self.library) + 1 :]
        return posixpath.relpath("/" + path, "/" + self.library)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Zip:
    """An open wheel: its members that are files, by name, and how to read and to blame them."""

    wheel: Wheel
    archive: Archive
    members: Mapping[str, zipfile.ZipInfo]

    def bad(self, why: str) -> ImageError:
        return ImageError(
            "layer.bad-wheel",
            f"`{self.wheel.filename}` is not a wheel that can be installed: {why}",
            hint="tell its publisher, or ask for another version in the spec",
        )

    def read(self, name: str) -> bytes:
        """Return a small member's content, checked."""
        info = self.members[name]
        raw = b"".join(_stream_member(self, info))
        try:
            if info.compress_type == zipfile.ZIP_STORED:
                return raw
            return inflate_whole(raw, info.file_size, info.CRC)
        except StreamError as error:
            raise self.bad(f"`{name}` {error}") from None


def read_wheel(archive: Path, wheel: Wheel, *, prefix: str, python_minor: str) -> tuple[Entry, ...]:
    """Return the entries of `wheel`, whose file is `archive`, installed into `prefix`.

    `prefix` is absolute (`/opt/env`), `python_minor` names site-packages (`3.11`). Contents are
    read from the archive when the entries' bodies are; only what decides is read here. Modes are
    0755 for what the zip marks executable and for commands, else 0644.

    Unlike pip: RECORD is sorted and has no rows of files that aren't there, INSTALLER says
    `envbuild`, REQUESTED and direct_url.json are left out (they tell of one installation, not of
    the wheel), and a script of `.data/scripts` is always executable.

    Raises `ImageError("layer.bad-wheel")`, with wheel and member, for what is no proper wheel;
    when bodies are read, for a member that isn't what RECORD or the zip's directory say.
    """
    file = _open_wheel(archive, wheel)
    info_folder = _find_info_folder(file)
    places = _plan_places(prefix, python_minor, wheel.name)
    _check_version(file, info_folder)
    rows = _read_rows(file, info_folder)
    commands = _plan_commands(file, info_folder, python_minor)

    entries: dict[str, Entry] = {}
    installed: list[Row] = []
    for name, info in file.members.items():
        target = _find_target(file, name, info_folder, places)
        if target is None or _is_old_wrapper(name, commands):
            continue
        row = rows.get(name) or Row(name)
        entry, row = _make_entry(file, info, target, row, places)
        if entries.setdefault(target, entry) is not entry:
            raise file.bad(f"`{name}` and another member are both installed as `{target}`")
        installed.append(Row(places.relate(target), row.digest, row.size))
    return _add_generated(entries, installed, info_folder, commands, places)


def _open_wheel(path: Path, wheel: Wheel) -> _Zip:
    members: dict[str, zipfile.ZipInfo] = {}
    file = _Zip(wheel=wheel, archive=Archive(path, name=wheel.filename), members=members)
    try:
        with zipfile.ZipFile(path) as opened:
            infos = opened.infolist()
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError) as error:
        raise file.bad(f"it can't be read as a zip ({error})") from None
    _check_sizes(file, infos, path.stat().st_size)
    for info in infos:
        if info.filename.endswith("/"):
            continue
        _check_member(file, info)
        before = members.setdefault(info.filename, info)
        if (before.file_size, before.CRC) != (info.file_size, info.CRC):
            raise file.bad(f"it has `{info.filename}` twice, and not the same")
    return file


def _check_sizes(file: _Zip, infos: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Refuse a zip whose members can't all be in its `size` bytes, or that is a bomb."""
    packed, plain = sum(i.compress_size for i in infos), sum(i.file_size for i in infos)
    if packed > size:
        raise file.bad(f"its members have {packed:,} bytes, and the archive only {size:,}")
    if is_bomb(size, plain):
        raise file.bad(f"its {size:,} bytes would become {plain:,}, as in an archive made to harm")


def _check_member(file: _Zip, info: zipfile.ZipInfo) -> None:
    name = info.filename
    if info.header_offset < 0:
        raise file.bad(f"`{name}` begins before the archive does")
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise file.bad(f"`{name}` would be installed outside of the environment")
    if _CONTROL.search(name):
        raise file.bad(f"{name!r} has a control character")
    if info.flag_bits & _ENCRYPTED:
        raise file.bad(f"`{name}` is encrypted")
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise file.bad(f"`{name}` is compressed in a way that wheels don't use")


def _find_info_folder(file: _Zip) -> str:
    """Return the name of the one `.dist-info` folder, which must be of the wheel's project."""
    folders = {name.split("/", 1)[0] for name in file.members if "/" in name}
    found = sorted(folder for folder in folders if folder.endswith(".dist-info"))
    if len(found) != 1:
        raise file.bad(f"it has {len(found)} `.dist-info` folders instead of one")
    if not _normalize(found[0]).startswith(_normalize(file.wheel.name)):
        raise file.bad(f"its folder `{found[0]}` is of another project than `{file.wheel.name}`")
    for needed in ("METADATA", "WHEEL", "RECORD"):
        if f"{found[0]}/{needed}" not in file.members:
            raise file.bad(f"`{found[0]}/{needed}` is missing")
    return found[0]


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _plan_places(prefix: str, python_minor: str, project: str) -> _Places:
    root = find_root(prefix)
    library = f"{root}/lib/python{python_minor}/site-packages"
    schemes = {
        "purelib": library,
        "platlib": library,
        "scripts": f"{root}/bin",
        "headers": f"{root}/include/site/python{python_minor}/{project}",
        "data": root,
    }
    return _Places(prefix=prefix, root=root, library=library, schemes=schemes)


def _check_version(file: _Zip, info_folder: str) -> None:
    """Refuse a wheel of another major version of the format than 1."""
    text = file.read(f"{info_folder}/WHEEL").decode(errors="replace")
    match = re.search(r"^Wheel-Version:\s*(\d+)\.\d+\s*$", text, re.MULTILINE)
    if match is None:
        raise file.bad(f"`{info_folder}/WHEEL` does not say its version")
    if match[1] != "1":
        raise file.bad(f"its format is version {match[1]}, and only version 1 is known")


def _read_rows(file: _Zip, info_folder: str) -> Mapping[str, Row]:
    name = f"{info_folder}/RECORD"
    try:
        rows = parse_record(file.read(name))
    except ValueError as error:
        raise file.bad(f"`{name}` can't be read ({error})") from None
    for path, info in file.members.items():
        size = rows[path].size if path in rows else ""
        if size and size != str(info.file_size):
            raise file.bad(f"`{path}` has {info.file_size} bytes, and RECORD says {size}")
    return rows


def _plan_commands(file: _Zip, info_folder: str, python_minor: str) -> Mapping[str, EntryPoint]:
    """Return the commands to make, by name: those of both groups of entry_points.txt."""
    name = f"{info_folder}/entry_points.txt"
    if name not in file.members:
        return {}
    commands: dict[str, EntryPoint] = {}
    section = ""
    for line in file.read(name).decode(errors="replace").splitlines():
        text = line.strip()
        if text.startswith("["):
            section = text
        elif section in {"[console_scripts]", "[gui_scripts]"} and text and text[0] not in "#;":
            point = parse_entry_point(text)
            if point is None:
                raise file.bad(f"`{name}` has a command that can't be made, `{text}`")
            commands[point.name] = point
    return _name_for_python(commands, python_minor)


def _name_for_python(
    commands: dict[str, EntryPoint], python_minor: str
) -> Mapping[str, EntryPoint]:
    """Name pip's commands after the Python that they are for, as pip does for itself.

    One wheel serves every Python, and so can't know the names.
    """
    point = commands.get("pip")
    if point is None:
        return commands
    kept = {k: v for k, v in commands.items() if not re.fullmatch(r"pip(\d+(\.\d+)?)?", k)}
    names = ("pip", f"pip{python_minor.split('.', maxsplit=1)[0]}", f"pip{python_minor}")
    return kept | {name: replace(point, name=name) for name in names}


def _is_old_wrapper(name: str, commands: Mapping[str, EntryPoint]) -> bool:
    """Tell whether a script is what setuptools once made for an entry point; pip skips these."""
    if ".data/scripts/" not in name:
        return False
    parts = name.split("/")
    if not (len(parts) > 2 and parts[0].endswith(".data") and parts[1] == "scripts"):
        return False
    return re.sub(r"(\.exe|-script\.py)$", "", parts[-1], flags=re.IGNORECASE) in commands


def _find_target(file: _Zip, name: str, info_folder: str, places: _Places) -> str | None:
    """Return the path at which a member is installed, or None for what is made anew."""
    folder, _, rest = name.partition("/")
    if folder == info_folder and rest in _INSTALL_TIME | {"RECORD"}:
        return None
    if not folder.endswith(".data"):
        clean = posixpath.normpath(name) if _UNCLEAN.search(f"/{name}/") else name
        return f"{places.library}/{clean}"
    scheme, _, rest = posixpath.normpath(rest).partition("/")
    if scheme not in places.schemes or not rest:
        raise file.bad(f"`{name}` is not in a folder that is known for data")
    return f"{places.schemes[scheme]}/{rest}"


def _make_entry(
    file: _Zip, info: zipfile.ZipInfo, target: str, row: Row, places: _Places
) -> tuple[Entry, Row]:
    """Return a member's entry and its row, both changed where its interpreter line is."""
    folder, _, rest = info.filename.partition("/")
    is_script = folder.endswith(".data") and rest.startswith("scripts/")
    mode = 0o755 if is_script or _is_executable(info) else 0o644
    if is_script and _peek(file, info).startswith(b"#!python"):
        data = rewrite_interpreter(file.read(info.filename), places.interpreter)
        return _make_file(target, data, mode), make_row(info.filename, data)
    body = partial(_open_member, file, info, row)
    entry = Entry(path=target, kind="file", mode=mode, size=info.file_size, body=body)
    return entry, row


def _is_executable(info: zipfile.ZipInfo) -> bool:
    mode = info.external_attr >> 16
    return stat.S_ISREG(mode) and bool(mode & 0o111)


def _make_file(path: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(path=path, kind="file", mode=mode, size=len(data), body=body_of_bytes(data))


def _add_generated(
    entries: dict[str, Entry],
    rows: list[Row],
    info_folder: str,
    commands: Mapping[str, EntryPoint],
    places: _Places,
) -> tuple[Entry, ...]:
    """Add the commands, INSTALLER, and the RECORD of it all."""
    made = {f"{places.library}/{info_folder}/INSTALLER": (_INSTALLER, 0o644)}
    for name, point in commands.items():
        script = render_wheel_script(point, places.interpreter)
        made[f"{places.root}/bin/{name}"] = (script, 0o755)
    fresh = {places.relate(path) for path in made}
    rows = [row for row in rows if row.path not in fresh]
    for path, (data, mode) in made.items():
        entries[path] = _make_file(path, data, mode)
        rows.append(make_row(places.relate(path), data))
    record = f"{places.library}/{info_folder}/RECORD"
    rows.append(Row(path=f"{info_folder}/RECORD"))
    entries[record] = _make_file(record, render_record(rows))
    return tuple(entries[path] for path in sorted(entries))


def _open_member(file: _Zip, info: zipfile.ZipInfo, row: Row) -> Piece:
    return Piece(
        data=_stream_member(file, info),
        deflated=info.compress_type == zipfile.ZIP_DEFLATED,
        size=info.file_size,
        crc32=info.CRC,
        sha256=decode_sha256(row) if info.file_size <= _CHECKED else b"",
        source=f"`{info.filename}` of `{file.wheel.filename}`",
    )


def _stream_member(file: _Zip, info: zipfile.ZipInfo) -> Iterable[bytes]:
    """Return a member's bytes as they are in the zip; its local header says where they begin.

    One that is not big is read with its header at once: a wheel has thousands.
    """
    start, size = info.header_offset, info.compress_size
    ahead = len(info.filename) + _AHEAD + size if size <= STEP else 0
    head = file.archive.read(start, _LOCAL_HEADER.size + ahead)
    magic, name, extra = _LOCAL_HEADER.unpack_from(head)
    if magic != b"PK\3\4":
        raise file.bad(f"`{info.filename}` is not where the zip's directory says")
    begin = _LOCAL_HEADER.size + name + extra
    if begin + size <= len(head):
        return (head[begin : begin + size],)
    return file.archive.stream(start + begin, size)


def _peek(file: _Zip, info: zipfile.ZipInfo) -> bytes:
    """Return the first bytes of a member."""
    head = next(iter(_stream_member(file, info)), b"")[:256]
    if info.compress_type == zipfile.ZIP_STORED:
        return head
    return isal_zlib.decompressobj(wbits=-15).decompress(head, 64)
