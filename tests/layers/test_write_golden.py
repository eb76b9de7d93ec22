"""Nobody changes a layer's bytes without raising ASSEMBLER: not of the writer, nor of a package.

A failure means: raise ASSEMBLER in `envbuild/layers/plan.py`, then remake `golden.json` with
`python -m tests.layers.test_write_golden`.
"""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from envbuild.kit.canonical import digest_bytes
from envbuild.kit.tree import read_tree
from envbuild.layers.archive import body_of_bytes
from envbuild.layers.conda import read_conda
from envbuild.layers.deb import read_deb
from envbuild.layers.debfinish import read_finish
from envbuild.layers.entry import Entry, Piece
from envbuild.layers.order import plan_entries
from envbuild.layers.plan import ASSEMBLER, Compression, plan_constants
from envbuild.layers.skeleton import read_skeleton
from envbuild.layers.source import SourceTree, find_folders, read_source
from envbuild.layers.wheel import read_wheel
from envbuild.layers.write import write_layer
from envbuild.lock.model import DebianPackage
from tests.layers.condas import OLD, Member, describe_conda, write_conda
from tests.layers.elfs import make_library
from tests.layers.test_skeleton import make_recipe
from tests.layers.wheels import INFO, describe, write_wheel
from tests.rig.debian_archive import Member as Deb
from tests.rig.debian_archive import make_deb

_COMPRESSIONS: tuple[Compression, ...] = ("gzip", "zstd")
_PLANS = {name: dict(plan_constants(name)) for name in _COMPRESSIONS}
_GOLDEN = Path(__file__).with_name("golden.json")
_NOISE = (bytes(range(256)) * 300)[:60_000]
# A stream as no packer here would make it, so that this machine's zlib has no say.
_STORED = b"\x01\x60\xea\x9f\x15" + _NOISE


def _describe(groups: Sequence[Sequence[Entry]]) -> dict[str, object]:
    """Write the entries in both compressions; return diff ID and size, and each blob's."""
    made: dict[str, object] = {}
    for compression in _COMPRESSIONS:
        out = io.BytesIO()
        facts = write_layer(plan_entries(groups), out.write, compression=compression)
        blob = out.getvalue()
        made |= dataclasses.asdict(facts)
        made[compression] = {"digest": digest_bytes(blob), "size": len(blob)}
    return made


def _file(path: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(path=path, kind="file", mode=mode, size=len(data), body=body_of_bytes(data))


def _spliced() -> Piece:
    crc32 = zlib.crc32(_NOISE)
    return Piece(data=iter((_STORED,)), deflated=True, size=len(_NOISE), crc32=crc32)


def _make_layer(_folder: Path) -> Sequence[Sequence[Entry]]:
    text = b"0123456789abcdef" * 200_000 + bytes(5_000_000)
    spliced = Entry(path="opt/env/kept", kind="file", size=len(_NOISE), body=_spliced)
    return [
        [Entry(path="opt/env", kind="directory", mode=0o700, owner=65532)],
        [_file("opt/env/grüße.txt", b"hallo\n"), spliced],
        [Entry(path="opt/env/link", kind="symlink", mode=0o777, link="x" * 120)],
        [_file("opt/env/packed", text, 0o755)],
        [Entry(path="opt/env/same", kind="hardlink", mode=0o755, link="opt/env/packed")],
    ]


def _make_wheel(folder: Path) -> Sequence[Sequence[Entry]]:
    files = {
        "demo/__init__.py": b"",
        "demo-1.0.data/scripts/run": b"#!python\n",
        "demo-1.0.data/data/share/x": b"1" * 100_000,
        "demo-1.0.data/headers/demo.h": b"",
        f"{INFO}/entry_points.txt": b"[console_scripts]\ndemo = a:b\n[gui_scripts]\nd = d:e\n",
    }
    path = write_wheel(folder, files, stored=True, modes={"demo/__init__.py": 0o755})
    wheel = describe(path)
    return [read_wheel(path, wheel, prefix="/opt/env", python_minor="3.11")]


def _make_conda(folder: Path) -> Sequence[Sequence[Entry]]:
    members = [
        Member(path="site-packages/demo.py", data=b"1"),
        Member(path="python-scripts/run", data=f"#!{OLD}/bin/x\n".encode(), prefix_mode="text"),
        Member(path="lib/a.so", data=f"\0{OLD}/lib\0".encode(), prefix_mode="binary"),
        Member(path="lib/b.so", link="a.so", kind=tarfile.SYMTYPE),
    ]
    link = {"noarch": {"type": "python", "entry_points": ["demo = demo:main"]}}
    info = {"link.json": json.dumps(link).encode()}
    # Bzip2 has one encoder, so the record's size of the archive is the same everywhere.
    path = write_conda(folder, members, suffix=".tar.bz2", index={"noarch": "python"}, info=info)
    package = dataclasses.replace(describe_conda(path), sha256="0" * 64)
    return [read_conda(path, package, prefix="/opt/env", python_minor="3.11")]


def _make_debs(folder: Path) -> list[tuple[Entry, ...]]:
    script = (
        b"#!/bin/sh\nadduser --system --group demo\n"
        b"update-alternatives --install /usr/bin/it it /usr/bin/demo 5\n"
    )
    library = make_library("libdemo.so.1")
    members = {
        "demo": [
            Deb(path="./bin/demo", data=b"#!/bin/sh\n", mode=0o755),
            Deb(path="./etc/demo.conf", data=b"1\n"),
            Deb(path="./usr/share/debianutils/shells.d/demo", data=b"/bin/demo\n"),
        ],
        "libdemo1": [
            Deb(path="./etc/ld.so.conf", data=b"/lib/x86_64-linux-gnu\n"),
            Deb(path="./usr/lib/x86_64-linux-gnu/libdemo.so.1.0", data=library),
        ],
    }
    control = {"conffiles": b"/etc/demo.conf\n", "postinst": script, "md5sums": b""}
    groups = []
    for name, files in members.items():
        data = make_deb(name=name, members=files, control=control if name == "demo" else None)
        path = folder / f"{name}.deb"
        path.write_bytes(data)
        package = DebianPackage(
            name=name, version="1.0-1", architecture="amd64", path=path.name,
            sha256="0" * 64, size=len(data),
        )  # fmt: skip
        groups.append(read_deb(path, package))
    return groups


def _make_finish(folder: Path) -> list[tuple[Entry, ...]]:
    return [read_finish(_make_debs(folder), user="nonroot")]


def _make_skeleton(_folder: Path) -> list[tuple[Entry, ...]]:
    return [read_skeleton(make_recipe())]


def _make_source(folder: Path) -> list[tuple[Entry, ...]]:
    (folder / "sub").mkdir()
    (folder / "sub/run").write_bytes(b"#!/bin/sh\n")
    (folder / "sub/run").chmod(0o700)
    (folder / "data").write_bytes(_NOISE)
    (folder / "link").symlink_to("sub/run")
    files, _ = read_tree(folder, ["sub/run", "data", "link"])
    tree = SourceTree(path="models", root=folder, files=files)
    target = "/workspace/models"
    return [find_folders(make_recipe(), target), read_source(tree, target)]


_MAKERS = {
    "layer": _make_layer,
    "wheel": _make_wheel,
    "conda": _make_conda,
    "debian": _make_debs,
    "finish": _make_finish,
    "skeleton": _make_skeleton,
    "source": _make_source,
}


@pytest.mark.parametrize("name", _MAKERS)
def test_bytes_change_only_with_the_assembler(name: str, tmp_path: Path) -> None:
    golden = json.loads(_GOLDEN.read_bytes())
    assert golden["assembler"] == ASSEMBLER
    assert golden["plan"] == _PLANS
    assert golden[name] == _describe(_MAKERS[name](tmp_path))


def test_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    code = f"import os; os.umask(0o077); from {__name__} import render; print(render(), end='')"
    environment = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7", "PATH": ""}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == _GOLDEN.read_text()


def render() -> str:
    """Return what `golden.json` holds."""
    with tempfile.TemporaryDirectory() as folder:
        made = {}
        for name, make in _MAKERS.items():
            own = Path(folder) / name
            own.mkdir()
            made[name] = _describe(make(own))
    return json.dumps({"assembler": ASSEMBLER, "plan": _PLANS, **made}, indent=2) + "\n"


if __name__ == "__main__":
    _GOLDEN.write_text(render())
