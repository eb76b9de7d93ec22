"""Promises of wheels as entries: what an installer would make, and nothing from a broken wheel."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.errors import ImageError
from envbuild.layers.archive import Archive
from envbuild.layers.entry import Entry
from envbuild.layers.gzip import inflate_whole
from envbuild.layers.order import plan_entries
from envbuild.layers.record import Row, parse_record, render_record
from envbuild.layers.wheel import read_wheel
from envbuild.layers.write import write_layer
from tests.layers.wheels import INFO, describe, make_record, write_wheel

_LIBRARY = "opt/env/lib/python3.11/site-packages"


def _read(path: Path) -> dict[str, Entry]:
    entries = read_wheel(path, describe(path), prefix="/opt/env", python_minor="3.11")
    return {entry.path: entry for entry in entries}


def _content(entry: Entry) -> bytes:
    assert entry.body is not None
    piece = entry.body()
    data = b"".join(piece.data)
    return inflate_whole(data, piece.size, piece.crc32) if piece.deflated else data


def _install(folder: Path, files: Mapping[str, bytes], **options: object) -> dict[str, Entry]:
    return _read(write_wheel(folder, files, **options))  # type: ignore[arg-type]


def test_files_go_where_the_format_says(tmp_path: Path) -> None:
    entries = _install(
        tmp_path,
        {
            "demo/__init__.py": b"",
            "demo/data.bin": bytes(100_000),
            "demo-1.0.data/purelib/pure.py": b"pure",
            "demo-1.0.data/platlib/plat.so": b"plat",
            "demo-1.0.data/scripts/run": b"#!/bin/sh\n",
            "demo-1.0.data/headers/demo.h": b"header",
            "demo-1.0.data/data/share/demo/x": b"data",
        },
    )
    assert sorted(entries) == [
        "opt/env/bin/run",
        "opt/env/include/site/python3.11/demo/demo.h",
        *(f"{_LIBRARY}/{INFO}/{n}" for n in ("INSTALLER", "METADATA", "RECORD", "WHEEL")),
        f"{_LIBRARY}/demo/__init__.py",
        f"{_LIBRARY}/demo/data.bin",
        f"{_LIBRARY}/plat.so",
        f"{_LIBRARY}/pure.py",
        "opt/env/share/demo/x",
    ]
    assert _content(entries[f"{_LIBRARY}/demo/data.bin"]) == bytes(100_000)
    assert all(entry.kind == "file" and entry.owner == 0 for entry in entries.values())


def test_modes_say_executable_or_not_and_nothing_else(tmp_path: Path) -> None:
    modes = {"demo/a": 0o600, "demo/b": 0o777, "demo/c": 0o4710, "demo-1.0.data/scripts/s": 0o644}
    entries = _install(tmp_path, dict.fromkeys(modes, b"x"), modes=modes)
    assert [entries[f"{_LIBRARY}/demo/{n}"].mode for n in "abc"] == [0o644, 0o755, 0o755]
    assert entries["opt/env/bin/s"].mode == 0o755


@pytest.mark.parametrize("stored", [False, True])
def test_scripts_get_the_environments_python(tmp_path: Path, stored: bool) -> None:
    scripts = {
        "plain": b"#!python\nimport demo\n",
        "windowed": b"#!pythonw -E\r\nimport demo\r\n",
        "shell": b"#!/bin/sh\n#!python\n",
        "binary": b"\x7fELF#!python\n",
    }
    files = {f"demo-1.0.data/scripts/{name}": data for name, data in scripts.items()}
    entries = _install(tmp_path, files, stored=stored)
    assert _content(entries["opt/env/bin/plain"]) == b"#!/opt/env/bin/python\nimport demo\n"
    assert _content(entries["opt/env/bin/windowed"]) == b"#!/opt/env/bin/python\nimport demo\r\n"
    assert _content(entries["opt/env/bin/shell"]) == scripts["shell"]
    assert _content(entries["opt/env/bin/binary"]) == scripts["binary"]


_ENTRY_POINTS = b"""\
# a comment
[console_scripts]
demo = demo.cli:main
demo-x=demo:Class.method [extra]

[gui_scripts]
demo-gui = demo:show
[demo.plugins]
not-a-script = demo
"""


def test_entry_points_become_commands(tmp_path: Path) -> None:
    entries = _install(tmp_path, {f"{INFO}/entry_points.txt": _ENTRY_POINTS})
    commands = {path: entry for path, entry in entries.items() if path.startswith("opt/env/bin/")}
    assert sorted(commands) == [f"opt/env/bin/{n}" for n in ("demo", "demo-gui", "demo-x")]
    assert _content(commands["opt/env/bin/demo-x"]) == (
        b"#!/opt/env/bin/python\nimport sys\nfrom demo import Class\n"
        b"if __name__ == '__main__':\n    sys.argv[0] = sys.argv[0].removesuffix('.exe')\n"
        b"    sys.exit(Class.method())\n"
    )
    assert {entry.mode for entry in commands.values()} == {0o755}


def test_an_old_wrapper_gives_way_to_the_command(tmp_path: Path) -> None:
    names = ("demo", "demo.exe", "demo-script.py", "other.exe")
    files = {f"demo-1.0.data/scripts/{name}": b"old" for name in names}
    entries = _install(tmp_path, {**files, f"{INFO}/entry_points.txt": _ENTRY_POINTS})
    found = {p.rpartition("/")[2] for p in entries if p.startswith("opt/env/bin/")}
    assert found == {"demo", "demo-gui", "demo-x", "other.exe"}
    assert b"demo.cli" in _content(entries["opt/env/bin/demo"])


def test_pip_is_named_after_the_python_that_it_is_for(tmp_path: Path) -> None:
    points = b"[console_scripts]\npip = pip:main\npip3.9 = pip:main\npip3 = pip:main\nx = y:z\n"
    entries = _install(tmp_path, {f"{INFO}/entry_points.txt": points})
    found = [p.rpartition("/")[2] for p in entries if p.startswith("opt/env/bin/")]
    assert found == ["pip", "pip3", "pip3.11", "x"]


def test_record_is_true_of_what_is_installed(tmp_path: Path) -> None:
    entries = _install(
        tmp_path,
        {
            "demo/a,b.py": b"1",
            "demo-1.0.data/scripts/run": b"#!python\n",
            f"{INFO}/entry_points.txt": _ENTRY_POINTS,
            f"{INFO}/INSTALLER": b"somebody\n",
            f"{INFO}/direct_url.json": b"{}",
            f"{INFO}/REQUESTED": b"",
        },
    )
    record = _content(entries[f"{_LIBRARY}/{INFO}/RECORD"])
    rows = list(csv.reader(io.StringIO(record.decode())))
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert len(rows) == len(entries)
    for path, digest, size in rows:
        place = path.replace("../../../", "opt/env/") if path[0] == "." else f"{_LIBRARY}/{path}"
        if path == f"{INFO}/RECORD":
            assert (digest, size) == ("", "")
            continue
        data = _content(entries[place])
        raw = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        assert (digest, size) == (f"sha256={raw}", str(len(data)))
    assert _content(entries[f"{_LIBRARY}/{INFO}/INSTALLER"]) == b"envbuild\n"
    assert not {"direct_url.json", "REQUESTED"} & {p.rpartition("/")[2] for p in entries}


def test_a_file_that_record_leaves_out_is_installed_as_pip_does(tmp_path: Path) -> None:
    record = make_record({}) + b"demo/gone.py,sha256=x,1\n"
    entries = _install(tmp_path, {"demo/a.py": b"1"}, record=record)
    rows = parse_record(_content(entries[f"{_LIBRARY}/{INFO}/RECORD"]))
    assert rows["demo/a.py"] == Row(path="demo/a.py")
    assert "demo/gone.py" not in rows


_PATHS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1)


@given(st.dictionaries(_PATHS, st.tuples(st.text("abc=-_"), st.integers(0, 10**12).map(str))))
def test_a_record_comes_back_as_it_was_written(rows: dict[str, tuple[str, str]]) -> None:
    every = {p: Row(path=p, digest=digest, size=size) for p, (digest, size) in rows.items()}
    assert parse_record(render_record(every.values())) == every


def test_bodies_outlive_the_reading_and_open_again(tmp_path: Path) -> None:
    entry = _install(tmp_path, {"demo/a.py": b"1" * 999})[f"{_LIBRARY}/demo/a.py"]
    assert _content(entry) == _content(entry) == b"1" * 999


class _Pipe(io.BytesIO):
    """What can't be sought in, so that a zip's sizes must come after its members."""

    def seekable(self) -> bool:
        return False

    def seek(self, *args: object) -> int:
        raise io.UnsupportedOperation

    tell = seek


def test_folders_and_data_descriptors_and_zip64_are_fine(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, {"demo/a.py": b"1" * 999})
    with zipfile.ZipFile(path) as source:
        files = {info.filename: source.read(info) for info in source.infolist()}
    out = _Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("demo/", b"")
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)
    path.write_bytes(out.getvalue())
    with zipfile.ZipFile(path) as archive:
        assert all(info.flag_bits & 0x8 for info in archive.infolist() if not info.is_dir())
    assert _content(_read(path)[f"{_LIBRARY}/demo/a.py"]) == b"1" * 999


def _refuse(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        _read(path)
    assert caught.value.code == "layer.bad-wheel"
    assert f"`{path.name}`" in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/etc/passwd", "outside"),
        ("../x", "outside"),
        ("demo/../../x", "outside"),
        ("demo-1.0.data/scripts/../../x", "outside"),
        ("demo/a\rb", "control character"),
        ("demo-1.0.data/elsewhere/x", "not in a folder that is known"),
        ("demo-1.0.data/scripts", "not in a folder that is known"),
        ("other-1.0.dist-info/METADATA", "2 `.dist-info` folders"),
    ],
)
def test_a_member_with_no_proper_place_is_refused(tmp_path: Path, name: str, message: str) -> None:
    assert message in _refuse(write_wheel(tmp_path, {name: b"x"}))


@pytest.mark.parametrize("name", ["RECORD", "WHEEL", "METADATA"])
def test_a_wheel_without_its_papers_is_refused(tmp_path: Path, name: str) -> None:
    message = _refuse(write_wheel(tmp_path, {}, without=(f"{INFO}/{name}",)))
    assert f"`{INFO}/{name}` is missing" in message


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("WHEEL", b"Wheel-Version: 2.0\n", "version 2"),
        ("WHEEL", b"Generator: x\n", "does not say its version"),
        ("entry_points.txt", b"[console_scripts]\nx = module\n", "`x = module`"),
        ("entry_points.txt", b"[console_scripts]\n../x = a:b\n", "`../x = a:b`"),
        ("entry_points.txt", b"[console_scripts]\n.. = a:b\n", "`.. = a:b`"),
        ("entry_points.txt", b"[gui_scripts]\nx = a:b();import os\n", "can't be made"),
    ],
)
def test_papers_that_say_what_cannot_be_are_refused(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    assert message in _refuse(write_wheel(tmp_path, {f"{INFO}/{name}": data}))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"demo/a.py,sha256=x,5\n", "has 1 bytes, and RECORD says 5"),
        (b"demo/a.py,sha256=x,1\ndemo/a.py,sha256=y,1\n", "listed twice"),
        (b"\xff\xfe", "can't be read"),
        (b'"demo/a.py', "can't be read"),
    ],
)
def test_a_record_that_cannot_be_true_is_refused(
    tmp_path: Path, record: bytes, message: str
) -> None:
    assert message in _refuse(write_wheel(tmp_path, {"demo/a.py": b"1"}, record=record))


def test_members_for_one_place_are_refused(tmp_path: Path) -> None:
    files = {"demo/a.py": b"1", "demo-1.0.data/purelib/demo/a.py": b"2"}
    assert "installed as" in _refuse(write_wheel(tmp_path, files))


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, {"demo/a.py": b"1"})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(f"{INFO}/RECORD", b"")
    assert "twice" in _refuse(path)


def test_a_member_that_is_there_twice_and_the_same_is_installed_once(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, {"demo/a.py": b"1"})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("demo/a.py", b"1")
    assert _content(_read(path)[f"{_LIBRARY}/demo/a.py"]) == b"1"


def test_a_member_that_begins_before_the_archive_is_refused(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, {})
    path.write_bytes(path.read_bytes()[1:])
    assert "begins before the archive does" in _refuse(path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, {"demo/a.py": b"1"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    assert "`demo-1.0.dist-info/METADATA` is encrypted" in _refuse(path)


def test_a_compression_that_wheels_do_not_use_is_refused(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("demo/a.py", b"1", zipfile.ZIP_LZMA)
    assert "`demo/a.py` is compressed" in _refuse(path)


def test_another_projects_wheel_is_refused(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, {})
    other = path.rename(tmp_path / "other-1.0-py3-none-any.whl")
    assert "of another project than `other`" in _refuse(other)


@pytest.mark.parametrize("size", [0, 1, 30, 200])
def test_what_is_no_zip_is_refused(tmp_path: Path, size: int) -> None:
    path = write_wheel(tmp_path, {})
    path.write_bytes(path.read_bytes()[:size])
    assert "can't be read as a zip" in _refuse(path)


def _damage_content(path: Path, name: str) -> None:
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(name)
    data = bytearray(path.read_bytes())
    length = sum(struct.unpack_from("<HH", data, info.header_offset + 26))
    data[info.header_offset + 30 + length + info.compress_size // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("size", [900, 200_000])
@pytest.mark.parametrize("stored", [False, True])
def test_a_damaged_member_ends_the_layer_by_name(tmp_path: Path, size: int, stored: bool) -> None:
    path = write_wheel(tmp_path, {"demo/a.py": b"content, " * size}, stored=stored)
    _damage_content(path, "demo/a.py")
    with pytest.raises(ImageError, match=r"`demo/a\.py` of `demo-1\.0-py3-none-any\.whl`"):
        write_layer(plan_entries([list(_read(path).values())]), len, compression="gzip")


def test_a_member_with_another_hash_than_record_says_ends_the_layer(tmp_path: Path) -> None:
    record = make_record({"demo/a.py": b"2"})
    path = write_wheel(tmp_path, {"demo/a.py": b"1"}, record=record)
    with pytest.raises(ImageError, match=r"`demo/a\.py` of .* RECORD"):
        write_layer(plan_entries([list(_read(path).values())]), len, compression="gzip")


def test_a_directory_that_points_elsewhere_ends_the_layer(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, {"demo/a.py": b"1"})
    entries = _read(path)
    data = path.read_bytes().replace(b"PK\3\4", b"PK\5\5")
    path.write_bytes(data)
    with pytest.raises(ImageError, match="not where"):
        _content(entries[f"{_LIBRARY}/demo/a.py"])


def test_an_archive_that_ends_early_ends_the_layer(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, {"demo/a.py": b"1" * 50})
    with pytest.raises(ImageError) as caught:
        Archive(path).read(path.stat().st_size - 10, 11)
    assert caught.value.code == "layer.cut-short"


@pytest.mark.parametrize("prefix", ["opt/env", "/", "", "/a b", "/a/", "/a/../b", "/" + "x" * 120])
def test_a_prefix_that_scripts_cannot_name_is_refused(tmp_path: Path, prefix: str) -> None:
    path = write_wheel(tmp_path, {})
    with pytest.raises(ImageError) as caught:
        read_wheel(path, describe(path), prefix=prefix, python_minor="3.11")
    assert caught.value.code == "layer.bad-prefix"


def test_a_symbolic_link_in_a_zip_is_a_file_as_for_pip(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, {})
    link = zipfile.ZipInfo("demo/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, b"/etc/passwd")
    entry = _read(path)[f"{_LIBRARY}/demo/link"]
    assert (entry.kind, entry.mode, _content(entry)) == ("file", 0o644, b"/etc/passwd")
