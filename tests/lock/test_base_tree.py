"""A base image's layers are read as an unpacker would lay them over one another."""

from __future__ import annotations

import io
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuild.errors import ImageError
from envbuild.lock.base_facts import find_facts
from envbuild.lock.base_read import read_layers
from envbuild.lock.base_tree import BaseTree
from envbuild.lock.tar_stream import Member, TarStream
from tests.rig.bases import GLIBC, MUSL, HardLink, Layer, Link, Program, make_tar, pack

PYTHON = Program(b"\x7fELF\x001.2.13\x003.11.7\x003.2.0\x00")


def _read(*layers: Layer) -> BaseTree:
    return read_layers([[make_tar(layer)] for layer in layers])


def _pythons(*layers: Layer, env: tuple[str, ...] = ()) -> dict[str, str]:
    return dict(
        find_facts(_read(*layers), {"config": {"Env": list(env)}}, interpreter=None).pythons
    )


# Layers


def test_links_are_followed_within_the_image() -> None:
    tree = _read(GLIBC)
    found = tree.find("/bin/sh")
    assert found is not None
    assert found[0] == "/usr/bin/dash"
    assert tree.find("/etc/os-release") is not None


@pytest.mark.parametrize(
    "layer",
    [
        {"a": Link("b"), "b": Link("a")},
        {"a": Link("/nowhere")},
        {"a": Link("../../../b")},
    ],
)
def test_a_link_that_leads_nowhere_is_no_file(layer: Layer) -> None:
    assert _read(layer).find("/a") is None


def test_a_link_above_the_root_stays_in_the_image() -> None:
    tree = _read({"x/sh": Link("../../../bin/sh"), "bin/sh": Program(b"#")})
    assert tree.find("/x/sh") is not None


def test_a_whiteout_hides_a_file_and_a_folder_of_lower_layers() -> None:
    low: Layer = {"bin/sh": Program(b"a"), "opt/one/tool": Program(b"b"), "opt/two": Program(b"c")}
    tree = _read(low, {"bin/.wh.sh": b"", "opt/.wh.one": b""})
    assert [path for path, _ in tree.leaves()] == ["/opt/two"]


def test_an_opaque_folder_hides_what_is_below_and_not_what_comes_with_it() -> None:
    low: Layer = {"opt/a": Program(b"a"), "opt/deep/b": Program(b"b"), "c": Program(b"c")}
    for above in (
        {"opt/new": Program(b"d"), "opt/.wh..wh..opq": b""},
        {"opt/.wh..wh..opq": b"", "opt/new": Program(b"d")},
    ):
        assert [path for path, _ in _read(low, above).leaves()] == ["/c", "/opt/new"]


def test_a_whiteout_does_not_hide_its_own_layer() -> None:
    tree = _read({"sh": Program(b"a")}, {"sh": Program(b"b"), ".wh.sh": b""})
    assert tree.find("/sh") is not None


def test_a_file_takes_the_place_of_a_folder_and_a_folder_that_of_a_link() -> None:
    tree = _read({"opt/tool/a": Program(b"a")}, {"opt/tool": Program(b"b")})
    assert [path for path, _ in tree.leaves()] == ["/opt/tool"]
    tree = _read({"bin": Link("usr/bin"), "usr/bin/sh": Program(b"a")}, {"bin": None})
    assert tree.find("/bin/sh") is None


def test_what_is_put_below_a_link_to_a_folder_goes_into_that_folder() -> None:
    tree = _read(GLIBC, {"bin/python3.11": PYTHON})
    assert tree.find("/usr/bin/python3.11") is not None
    assert tree.find("/bin/python3.11") is not None


def test_a_hard_link_is_another_name_of_the_file() -> None:
    layer: Layer = {"usr/bin/python3.11": PYTHON, "opt/py": HardLink("usr/bin/python3.11")}
    assert _read(layer).find("/opt/py") is not None


def test_a_program_that_becomes_a_plain_file_is_none_any_more() -> None:
    assert _read({"bin/sh": Program(b"a")}, {"bin/sh": b"a"}).find("/bin/sh") is None


def test_a_tree_comes_back_from_the_cache_as_it_was() -> None:
    tree = _read(GLIBC, {"usr/bin/python3.11": PYTHON})
    again = BaseTree.thaw(tree.freeze())
    assert list(again.leaves()) == list(tree.leaves())
    assert again.find("/bin/sh") == tree.find("/bin/sh")


# The stream


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=20))
@settings(max_examples=20, deadline=None)
def test_pieces_of_any_size_give_the_same_members(compression: str, sizes: list[int]) -> None:
    names = ["a/" * 80 + "long", "ünï/" + "x" * 120, "plain"]
    plain = make_tar({name: name.encode() * 90 for name in names})
    data = pack(plain, compression)  # type: ignore[arg-type]
    seen: dict[str, bytes] = {}
    stream = TarStream(lambda member: member.name != "plain", lambda m, b: seen.update({m.name: b}))
    place = 0
    while place < len(data):
        step = sizes[place % len(sizes)]
        stream.write(data[place : place + step])
        place += step
    stream.finish()
    assert seen == {name: name.encode() * 90 if name != "plain" else b"" for name in names}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_every_form_of_tar_is_read(form: int) -> None:
    name = "d" * 90 + "/" + "f" * 90
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=form) as tar:
        member = tarfile.TarInfo(name)
        member.size = 5
        tar.addfile(member, io.BytesIO(b"hello"))
    seen: list[tuple[str, bytes]] = []
    stream = TarStream(_always, lambda m, b: seen.append((m.name, b)))
    stream.write(plain.getvalue())
    stream.finish()
    assert seen == [(name, b"hello")]


def _always(_member: Member) -> bool:
    return True


@pytest.mark.parametrize(
    "data", [b"x" * 2000, b"\x1f\x8bnonsense", b"\x28\xb5\x2f\xfdnonsense", b"x" * 600]
)
def test_what_is_no_tar_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        read_layers([[data]])
    assert caught.value.code == "base.damaged"


def test_a_tar_that_ends_in_the_middle_is_refused() -> None:
    with pytest.raises(ImageError) as caught:
        read_layers([[make_tar({"usr/bin/python3.11": Program(bytes(5000))})[:3000]]])
    assert caught.value.code == "base.damaged"


# Facts


def test_debians_facts() -> None:
    facts = find_facts(_read(GLIBC, {"usr/bin/python3.11": PYTHON}), {}, interpreter=None)
    assert (facts.system, facts.libc, facts.libc_version) == ("debian 12", "glibc", "2.36")
    assert facts.shell
    assert facts.pythons == (("/usr/bin/python3.11", "3.11.7"),)


def test_alpines_facts() -> None:
    facts = find_facts(_read(MUSL), {}, interpreter=None)
    assert (facts.system, facts.libc, facts.libc_version) == ("alpine 3.19.1", "musl", "1.2.4")
    assert facts.shell
    assert facts.pythons == ()


def test_an_image_without_anything_has_no_facts() -> None:
    facts = find_facts(_read({"app": Program(b"static")}), {}, interpreter=None)
    assert (facts.system, facts.libc, facts.shell) == ("", "", False)


def test_a_glibc_that_says_nothing_has_its_packages_version() -> None:
    silent = {**GLIBC, "usr/lib/x86_64-linux-gnu/libc.so.6": Program(b"\x7fELF")}
    facts = find_facts(_read(silent), {}, interpreter=None)
    assert (facts.libc, facts.libc_version) == ("glibc", "2.36")


def test_an_old_glibc_has_its_version_in_a_name() -> None:
    layer: Layer = {
        "lib64/libc.so.6": Link("libc-2.17.so"),
        "lib64/libc-2.17.so": Program(b"\x7fELF"),
        "lib64/ld-linux-x86-64.so.2": Program(b""),
    }
    facts = find_facts(_read(layer), {}, interpreter=None)
    assert (facts.libc, facts.libc_version) == ("glibc", "2.17")


def test_a_removed_package_does_not_count() -> None:
    layer: Layer = {
        "lib64/libc.so.6": Program(b"\x7fELF"),
        "var/lib/dpkg/status": b"Package: libc6\nStatus: deinstall ok config-files\nVersion: 2.1\n",
    }
    facts = find_facts(_read(layer), {}, interpreter=None)
    assert (facts.libc, facts.libc_version) == ("glibc", "")


def test_every_name_of_a_python_has_its_version() -> None:
    layer: Layer = {
        "usr/local/bin/python3.11": PYTHON,
        "usr/local/bin/python3": Link("python3.11"),
        "usr/local/bin/python": Link("python3"),
        "usr/local/bin/python3.11-config": Program(b"#!/bin/sh"),
    }
    wanted = dict.fromkeys(("python", "python3", "python3.11"), "3.11.7")
    assert _pythons(layer) == {f"/usr/local/bin/{name}": v for name, v in wanted.items()}


def test_a_pythons_version_may_be_in_its_library() -> None:
    layer: Layer = {
        "usr/local/bin/python3.11": Program(b"\x7fELF"),
        "usr/local/lib/libpython3.11.so.1.0": b"\x7fELF\x003.11.7\x00",
    }
    assert _pythons(layer) == {"/usr/local/bin/python3.11": "3.11.7"}


def test_a_pythons_version_may_be_its_packages() -> None:
    status = b"Package: python3.11-minimal\nStatus: install ok installed\nVersion: 3.11.2-6+u3\n"
    layer: Layer = {"usr/bin/python3.11": Program(b"\x7fELF"), "var/lib/dpkg/status": status}
    assert _pythons(layer) == {"/usr/bin/python3.11": "3.11.2"}


def test_a_pythons_version_may_be_in_the_environment() -> None:
    layer: Layer = {
        "usr/local/bin/python3.11": Program(b"\x7fELF"),
        "usr/bin/python3.9": Program(b"\x7fELF"),
    }
    assert _pythons(layer, env=("PYTHON_VERSION=3.11.7",)) == {
        "/usr/local/bin/python3.11": "3.11.7",
        "/usr/bin/python3.9": "3.9",
    }


def test_two_versions_in_one_library_leave_it_open() -> None:
    layer: Layer = {"usr/bin/python3.11": Program(b"\x003.11.7\x00\x003.11.8\x00")}
    assert _pythons(layer) == {"/usr/bin/python3.11": "3.11"}


def test_an_interpreter_of_another_name_is_looked_for() -> None:
    layer: Layer = {"opt/tool": Program(b"\x7fELF"), "opt/py": Link("tool")}
    tree = _read(layer)
    assert find_facts(tree, {}, interpreter="/opt/py").pythons == (("/opt/py", ""),)
    assert find_facts(tree, {}, interpreter="/opt/none").pythons == ()


def test_this_machines_own_python_tells_its_version() -> None:
    """The same look into a real interpreter, or the library that it runs on."""
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    program = Path(sys.base_prefix, "bin", f"python{minor}").resolve()
    layer: dict[str, bytes] = {f"usr/bin/python{minor}": Program(program.read_bytes())}
    library = Path(sysconfig.get_config_var("LIBDIR") or "", f"libpython{minor}.so.1.0")
    if library.is_file():
        layer[f"usr/lib/{library.name}"] = library.read_bytes()
    wanted = ".".join(map(str, sys.version_info[:3]))
    assert _pythons(layer) == {f"/usr/bin/python{minor}": wanted}


def test_this_machines_own_glibc_tells_its_version() -> None:
    import platform

    kind, version = platform.libc_ver()
    places = [*Path("/lib").glob("*-linux-gnu/libc.so.6"), Path("/lib64/libc.so.6")]
    library = next((place for place in places if place.is_file()), None)
    assert library is not None
    assert kind == "glibc"
    facts = find_facts(
        _read({"lib64/libc.so.6": Program(library.read_bytes())}), {}, interpreter=None
    )
    assert (facts.libc, facts.libc_version) == ("glibc", version)
