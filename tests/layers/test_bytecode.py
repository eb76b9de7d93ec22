"""The promises of byte code: Python takes it as it is, and the same source gives the same bytes."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuild.errors import ImageError
from envbuild.layers.archive import body_of_bytes
from envbuild.layers.bytecode import Compiler, compile_entries, find_sources
from envbuild.layers.bytepack import read_pack
from envbuild.layers.entry import Entry
from envbuild.layers.wheel import read_wheel
from tests.layers.modules import MINOR, SITE, TAG, VERSION, contents_of, make_file, read_entry
from tests.layers.wheels import describe, write_wheel


def test_modules_of_all_three_kinds_of_package_are_found() -> None:
    wanted = [
        "opt/env/lib/python3.11/site-packages/a/__init__.py",
        "opt/env/lib/python3.11/json/decoder.py",
        "usr/lib/python3.11/os.py",
        "usr/lib/python3/dist-packages/apt/cache.py",
        "usr/local/lib/python3.11/dist-packages/b.py",
    ]
    others = [
        "opt/env/bin/script.py",
        "opt/env/share/doc/example.py",
        "opt/env/lib/python3.11/site-packages/a/data.txt",
        "opt/env/lib/python3.11/site-packages/a/__pycache__/odd.py",
        "opt/env/lib/python3.12/site-packages/other.py",
        "usr/lib/python3.9/os.py",
        "usr/lib/systemd/tool.py",
    ]
    found = find_sources([make_file(path) for path in others + wanted], python_minor="3.11")
    assert [entry.path for entry in found] == sorted(wanted)


def test_byte_code_that_python_would_take_is_kept() -> None:
    source = b"x = 1\n"

    def own(flags: int, when: int, size: int) -> list[Entry]:
        header = b"\xa7\r\r\n" + b"".join(n.to_bytes(4, "little") for n in (flags, when, size))
        path = "usr/lib/python3.11/__pycache__/a.cpython-311.pyc"
        return [make_file("usr/lib/python3.11/a.py", source), make_file(path, header + b"N")]

    def is_compiled(entries: list[Entry]) -> bool:
        return bool(find_sources(entries, python_minor="3.11"))

    assert not is_compiled(own(0b01, 1, 2))
    assert not is_compiled(own(0b11, 1, 2))
    assert not is_compiled(own(0, 0, len(source)))
    # The files of a layer have no time, so this one is stale there.
    assert is_compiled(own(0, 1_700_000_000, len(source)))
    assert is_compiled(own(0, 0, len(source) + 1))
    assert is_compiled(own(0, 0, 0)[:1])
    assert is_compiled(
        [own(0, 0, 0)[0], make_file("usr/lib/python3.11/__pycache__/a.cpython-311.pyc", b"cut")]
    )


def test_links_are_compiled_as_what_they_lead_to() -> None:
    folder = "usr/lib/python3.11"
    entries = [
        make_file("etc/python3.11/sitecustomize.py", b"hooked = True\n"),
        Entry(path=f"{folder}/hook.py", kind="symlink", link="/etc/python3.11/sitecustomize.py"),
        make_file(f"{folder}/one.py", b"one = 1\n"),
        Entry(path=f"{folder}/two.py", kind="hardlink", link=f"{folder}/one.py"),
        Entry(path=f"{folder}/three.py", kind="symlink", link="two.py"),
        Entry(path=f"{folder}/gone.py", kind="symlink", link="../nowhere.py"),
        Entry(path=f"{folder}/loop.py", kind="symlink", link="loop.py"),
        Entry(path=f"{folder}/folder.py", kind="directory", mode=0o755),
    ]  # fmt: skip
    found = find_sources(entries, python_minor="3.11")
    assert contents_of(found) == {
        f"{folder}/one.py": b"one = 1\n",
        f"{folder}/hook.py": b"hooked = True\n",
        f"{folder}/three.py": b"one = 1\n",
        f"{folder}/two.py": b"one = 1\n",
    }


def test_python_imports_it_without_writing_or_compiling(tmp_path: Path) -> None:
    """In a folder where nothing can be written, and with sources that no longer say the same."""
    files = {"demo/__init__.py": b"from demo import leaf\n", "demo/leaf.py": b"said = 'compiled'\n"}
    wheel = write_wheel(tmp_path, files)
    entries = read_wheel(wheel, describe(wheel), prefix=str(tmp_path / "env"), python_minor=MINOR)
    with Compiler([sys.executable], version=VERSION) as compiler:
        made = compile_entries(entries, compiler, pack=tmp_path / "demo.pack")
    assert {entry.mode for entry in made} == {0o644}
    for entry in [*entries, *made]:
        target = Path("/" + entry.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(
            b"said = 'a source'\n" if entry.path.endswith("leaf.py") else _all(entry)
        )
    site = tmp_path / f"env/lib/python{MINOR}/site-packages"
    before = sorted(site.rglob("*"))
    ask = "import demo, sys; print(demo.leaf.said, demo.leaf.__cached__, demo.leaf.__file__)"
    ended = subprocess.run(
        [sys.executable, "-v", "-S", "-c", ask],
        env={"PYTHONPATH": str(site)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    cached = importlib.util.cache_from_source(str(site / "demo/leaf.py"))
    assert ended.stdout.split() == ["compiled", cached, str(site / "demo/leaf.py")]
    assert f"# {cached} matches" in ended.stderr
    assert f"code object from '{cached}'" in ended.stderr
    assert "wrote" not in "".join(s for s in ended.stderr.splitlines() if str(site) in s)
    assert sorted(site.rglob("*")) == before


def _all(entry: Entry) -> bytes:
    from envbuild.layers.bytecode import _read as read_checked

    return read_checked(entry)


@pytest.mark.parametrize(
    "source",
    [
        b"def f(:\n",
        b"\0",
        b"# coding: no-such-coding\n",
        b"x = '\xff'\n",
        b"(" * 500 + b")" * 500,
        b"return 1",
    ],
    ids=["syntax", "zero", "coding", "encoding", "nesting", "outside"],
)
def test_what_does_not_compile_is_skipped(source: bytes, tmp_path: Path) -> None:
    entries = [make_file(f"{SITE}/bad.py", source), make_file(f"{SITE}/good.py")]
    with Compiler([sys.executable], version=VERSION) as compiler:
        made = compile_entries(entries, compiler, pack=tmp_path / "pack")
    assert [entry.path for entry in made] == [f"{SITE}/__pycache__/good.{TAG}.pyc"]


@pytest.fixture
def entries() -> list[Entry]:
    return [make_file(f"{SITE}/m{n}.py", f"x = {n}\n".encode() * (n + 1)) for n in range(20)]


class _Refusing(Compiler):
    """Fails where a kept pack should have been enough."""

    def compile_many(self, files: object) -> Iterator[bytes | None]:
        raise AssertionError("it compiles again")


def test_byte_code_is_made_once(entries: list[Entry], compiler: Compiler, tmp_path: Path) -> None:
    made = compile_entries(entries, compiler, pack=tmp_path / "pack")
    kept = compile_entries(
        reversed(entries), _Refusing(["none"], version=VERSION), pack=tmp_path / "pack"
    )
    assert contents_of(kept) == contents_of(made)
    assert len(made) == 20
    assert [entry.path for entry in kept] == sorted(entry.path for entry in kept)
    assert all(entry.size == len(read_entry(entry)) for entry in kept)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pack"]


def test_packs_are_the_same_bytes(entries: list[Entry], tmp_path: Path) -> None:
    for name, order in (("a", 1), ("b", -1)):
        with Compiler([sys.executable], version=VERSION) as compiler:
            compile_entries(entries[::order], compiler, pack=tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_nothing_is_made_where_there_is_nothing_to_compile(tmp_path: Path) -> None:
    with Compiler(["/no/such/python"], version=VERSION) as compiler:
        assert compile_entries([make_file("etc/passwd")], compiler, pack=tmp_path / "pack") == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [0, 5, 0.3, 0.6, 0.9, -60, -20, -1])
@pytest.mark.parametrize("damage", ["cut", "flip", "grow"])
def test_a_damaged_pack_is_made_again(
    damage: str, place: float, entries: list[Entry], compiler: Compiler, tmp_path: Path
) -> None:
    pack = tmp_path / "pack"
    made = contents_of(compile_entries(entries, compiler, pack=pack))
    whole = pack.read_bytes()
    at = int(place * len(whole)) if 0 < place < 1 else int(place) % len(whole)
    bad = {
        "cut": whole[:at],
        "flip": whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :],
        "grow": whole[:at] + b"x" + whole[at:],
    }
    pack.write_bytes(bad[damage])
    assert contents_of(compile_entries(entries, compiler, pack=pack)) == made
    assert pack.read_bytes() == whole


def test_a_pack_of_something_else_is_not_taken(
    entries: list[Entry], compiler: Compiler, tmp_path: Path
) -> None:
    pack = tmp_path / "pack"
    compile_entries(entries[:5], compiler, pack=pack)
    made = compile_entries(entries, compiler, pack=pack)
    assert len(made) == 20
    assert read_pack(pack, label="something else") is None
    assert read_pack(tmp_path / "none", label="") is None


def _pid(compiler: Compiler) -> int:
    assert compiler._child is not None
    return compiler._child._process.pid


def test_a_killed_compiler_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    done: list[int] = []

    def body(number: int) -> Entry:
        def open_body() -> object:
            if number == 700:
                os.kill(_pid(compiler), signal.SIGKILL)
            done.append(number)
            return body_of_bytes(b"x = [" + b"1, " * 3000 + b"]\n")()

        path = f"{SITE}/m{number:04}.py"
        return Entry(path=path, kind="file", size=9000, body=open_body)  # type: ignore[arg-type]

    with (
        Compiler([sys.executable], version=VERSION) as compiler,
        pytest.raises(ImageError, match=r"signal 9 at or soon after `/opt/env/.*\.py`") as caught,
    ):
        compile_entries([body(n) for n in range(900)], compiler, pack=tmp_path / "pack")
    assert caught.value.code == "bytecode.died"
    assert list(tmp_path.iterdir()) == []
    # The object is of use again, with another child.
    with Compiler([sys.executable], version=VERSION) as compiler:
        assert compiler.compile("/a.py", b"") is not None
