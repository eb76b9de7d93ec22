"""Tar streams: written as any tar reads them, unpacked without ever leaving the folder."""

from __future__ import annotations

import io
import tarfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuild.engine.archive import Upload, render_tar, unpack_tar
from envbuild.engine.users import find_ids
from envbuild.errors import EngineError

NAME = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), min_size=1, max_size=60
).filter(lambda name: name not in {".", ".."} and len(name.encode()) <= 200)


@settings(max_examples=50)
@given(files=st.dictionaries(NAME, st.binary(max_size=2000), max_size=5))
def test_rendered_files_come_back(files: dict[str, bytes]) -> None:
    uploads = [Upload(path="/f", mode=0o755)]
    for name, data in files.items():
        uploads.append(Upload(path=f"/f/{name}", size=len(data), read=partial(iter, (data,))))
    raw = b"".join(render_tar(uploads, uid=7, gid=8))
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        members = tar.getmembers()
        read = {m.name: tar.extractfile(m).read() for m in members if m.isreg()}  # type: ignore[union-attr]
    assert read == {f"f/{name}": data for name, data in files.items()}
    assert {(m.uid, m.gid, m.mtime) for m in members} == {(7, 8, 0)}


def test_root_keeps_what_is_not_owned_by_the_user() -> None:
    uploads = [Upload(path="/a"), Upload(path="/b", owned=False), Upload(path="/c", link="a")]
    raw = b"".join(render_tar(uploads, uid=7, gid=8))
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        assert [(m.name, m.uid, m.type) for m in tar] == [
            ("a", 7, tarfile.DIRTYPE),
            ("b", 0, tarfile.DIRTYPE),
            ("c", 7, tarfile.SYMTYPE),
        ]


def _tar(*members: tarfile.TarInfo | tuple[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in members:
            if isinstance(member, tuple):
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
            else:
                tar.addfile(member)
    buffer.seek(0)
    return buffer


def _link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "member",
    [
        ("../evil", b"x"),
        ("/evil", b"x"),
        ("a/../../evil", b"x"),
        _link("a/l", "/etc/passwd"),
        _link("a/l", "../../evil"),
        _link("a/l", "/etc/passwd", tarfile.LNKTYPE),
        _link("a/l", "../evil", tarfile.LNKTYPE),
        _link("a/device", "", tarfile.CHRTYPE),
        _link("a/pipe", "", tarfile.FIFOTYPE),
    ],
)
def test_members_that_lead_out_are_left_out_with_a_note(
    tmp_path: Path, member: tarfile.TarInfo | tuple[str, bytes]
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (note,) = unpack_tar(_tar(("a/good", b"y"), member), folder)
    assert "left out" in note
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "a", "good"]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    folder.mkdir()
    # `up` stays inside by its text, and `up/way` leads out by way of it.
    archive = _tar(
        _link("a/b/up", ".."), _link("a/b/up/way", "../../outside"), ("a/b/up/way/x", b"evil")
    )
    unpack_tar(archive, folder)
    assert list(outside.iterdir()) == []


def test_stream_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    raw = _tar(("a", b"x" * 5000)).getvalue()[:2000]
    with pytest.raises(tarfile.TarError):
        unpack_tar(io.BytesIO(raw), tmp_path)


def test_modes_keep_only_the_execute_bit(tmp_path: Path) -> None:
    info = tarfile.TarInfo("run")
    info.mode = 0o6711
    other = tarfile.TarInfo("read")
    other.mode = 0o000
    unpack_tar(_tar(info, other), tmp_path)
    modes = {p.name: oct(p.stat().st_mode & 0o7777) for p in tmp_path.iterdir()}
    assert modes == {"run": "0o755", "read": "0o644"}


PASSWD = b"root:x:0:0::/root:/bin/sh\nme:x:1000:1001::/:/bin/sh\nbroken\n+::::::\n"
GROUP = b"root:x:0:\ncrew:x:7:me\n"


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("", (0, 0)),
        ("root", (0, 0)),
        ("me", (1000, 1001)),
        ("1000", (1000, 1001)),
        ("55", (55, 0)),
        ("55:66", (55, 66)),
        ("me:crew", (1000, 7)),
        ("0:crew", (0, 7)),
        (":crew", (0, 7)),
    ],
)
def test_users_mean_what_the_engine_takes_them_for(user: str, ids: tuple[int, int]) -> None:
    assert find_ids(user, {"/etc/passwd": PASSWD, "/etc/group": GROUP}.get) == ids


@pytest.mark.parametrize("user", ["nobody", "me:gang"])
def test_unknown_names_are_errors(user: str) -> None:
    with pytest.raises(EngineError) as caught:
        find_ids(user, {"/etc/passwd": PASSWD, "/etc/group": GROUP}.get)
    assert caught.value.code == "engine.no-user"


@pytest.mark.parametrize("user", ["55", "55:66", ""])
def test_numbers_need_no_file(user: str) -> None:
    assert find_ids(user, lambda path: None)[0] in {0, 55}
