"""Promises of conda packages as entries: what conda would link, and nothing from a broken one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from envbuild.errors import ImageError
from envbuild.layers.conda import LinkPolicy, read_conda, read_history
from envbuild.layers.entry import Entry
from envbuild.layers.order import plan_entries
from envbuild.layers.write import write_layer
from tests.layers.condas import OLD, Member, describe_conda, list_paths, write_conda


def _read(path: Path, *, prefix: str = "/opt/env") -> dict[str, Entry]:
    entries = read_conda(path, describe_conda(path), prefix=prefix, python_minor="3.11")
    return {entry.path.removeprefix("opt/env/"): entry for entry in entries}


def _content(entry: Entry) -> bytes:
    assert entry.body is not None
    data = b"".join(entry.body().data)
    assert len(data) == entry.size
    return data


def _record(entries: dict[str, Entry]) -> dict[str, object]:
    (path,) = [path for path in entries if path.startswith("conda-meta/")]
    record = json.loads(_content(entries[path]))
    assert isinstance(record, dict)
    return record


_TEXT = f"#!{OLD}/bin/sh\n{OLD} and {OLD}/lib\n".encode()
_BINARY = b"\x7fELF\0" + OLD.encode() + b"/lib:" + OLD.encode() + b"/lib64\0end\0"
_MEMBERS = (
    Member(path="bin/tool", data=_TEXT, mode=0o775, prefix_mode="text"),
    Member(path="lib/libtool.so.1", data=_BINARY, mode=0o600, prefix_mode="binary"),
    Member(path="lib/libtool.so", link="libtool.so.1", kind=tarfile.SYMTYPE),
    Member(path="lib/plain.bin", data=bytes(range(256)) * 4000, mode=0o664),
    Member(path="lib/same.bin", link="lib/plain.bin", kind=tarfile.LNKTYPE),
    Member(path="share/empty", kind=tarfile.DIRTYPE, mode=0o755),
    Member(path="share/grüße", data=b""),
)


@pytest.mark.parametrize("suffix", [".conda", ".tar.bz2"])
def test_both_formats_give_the_same_entries(tmp_path: Path, suffix: str) -> None:
    entries = _read(write_conda(tmp_path, _MEMBERS, suffix=suffix))
    assert sorted(entries) == sorted([*(m.path for m in _MEMBERS), "conda-meta/demo-1.0-0.json"])
    text = b"#!/opt/env/bin/sh\n/opt/env and /opt/env/lib\n"
    assert _content(entries["bin/tool"]) == text
    binary = b"\x7fELF\0/opt/env/lib:/opt/env/lib64"
    assert (
        _content(entries["lib/libtool.so.1"]) == binary.ljust(len(_BINARY) - 5, b"\0") + b"\0end\0"
    )
    same = entries["lib/same.bin"]
    assert (same.kind, same.link, same.mode) == ("hardlink", "opt/env/lib/plain.bin", 0o644)
    link = entries["lib/libtool.so"]
    assert (link.kind, link.link) == ("symlink", "libtool.so.1")
    assert entries["share/empty"].kind == "directory"
    modes = {path: entry.mode for path, entry in entries.items() if entry.kind == "file"}
    assert {path for path, mode in modes.items() if mode == 0o755} == {"bin/tool"}
    assert set(modes.values()) == {0o755, 0o644}
    assert entries["share/grüße"].size == 0


def test_without_paths_json_the_old_files_say_it(tmp_path: Path) -> None:
    default = "/opt/anaconda1" + "anaconda2anaconda3"
    members = [
        Member(path="a.txt", data=f"{default}/x".encode()),
        Member(path="b c.txt", data=_TEXT),
        Member(path="d.bin", data=_BINARY),
        Member(path="e", data=_TEXT),
    ]
    info = {
        "paths.json": b"",
        "files": b"a.txt\n# a comment\n\nb c.txt\nd.bin\ne\n",
        "has_prefix": f'a.txt\n"{OLD}" "text" "b c.txt"\n{OLD} binary d.bin\n'.encode(),
    }
    for suffix in (".tar.bz2", ".conda"):
        entries = _read(write_conda(tmp_path, members, suffix=suffix, info=info))
        assert _content(entries["a.txt"]) == b"/opt/env/x"
        assert _content(entries["b c.txt"]) == _TEXT.replace(OLD.encode(), b"/opt/env")
        assert _content(entries["d.bin"]).startswith(b"\x7fELF\0/opt/env/lib:")
        assert _content(entries["e"]) == _TEXT


_LINK = {
    "noarch": {"type": "python", "entry_points": ["demo = demo.cli:main", "x=demo:A.b"]},
    "package_metadata_version": 1,
}


def test_noarch_python_finds_its_place(tmp_path: Path) -> None:
    members = [
        Member(path="site-packages/demo/__init__.py", data=b"1"),
        Member(path="python-scripts/old", data=_TEXT, mode=0o755, prefix_mode="text"),
        Member(path="share/x", data=b"2"),
    ]
    path = write_conda(
        tmp_path,
        members,
        index={"noarch": "python", "subdir": "noarch"},
        info={"link.json": json.dumps(_LINK).encode()},
    )
    entries = _read(path)
    assert sorted(entries) == [
        "bin/demo",
        "bin/old",
        "bin/x",
        "conda-meta/demo-1.0-0.json",
        "lib/python3.11/site-packages/demo/__init__.py",
        "share/x",
    ]
    script = _content(entries["bin/x"]).decode()
    assert script.startswith("#!/opt/env/bin/python3.11\n")
    assert "from demo import A\n" in script
    assert "sys.exit(A.b())\n" in script
    assert entries["bin/x"].mode == 0o755


def test_noarch_python_of_a_platform_is_refused(tmp_path: Path) -> None:
    path = write_conda(tmp_path, [], index={"noarch": "python"})
    package = describe_conda(path)
    moved = dataclasses.replace(package, url=package.url.replace("/noarch/", "/linux-64/"))
    with pytest.raises(ImageError, match="not in its channel's `noarch`") as caught:
        read_conda(path, moved, prefix="/opt/env", python_minor="3.11")
    assert caught.value.code == "layer.bad-conda"


def test_only_noarch_python_is_moved(tmp_path: Path) -> None:
    members = [Member(path="site-packages/x", data=b"1")]
    for noarch in ("generic", None):
        path = write_conda(
            tmp_path,
            members,
            index={"noarch": noarch},
            info={"link.json": json.dumps(_LINK).encode()},
        )
        assert sorted(_read(path)) == ["conda-meta/demo-1.0-0.json", "site-packages/x"]


def test_the_record_says_what_is_installed_and_nothing_of_this_machine(tmp_path: Path) -> None:
    path = write_conda(tmp_path, _MEMBERS, index={"license": "MIT", "timestamp": 1700000000000})
    entries = _read(path)
    record = _record(entries)
    assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["size"] == path.stat().st_size
    assert (record["name"], record["fn"], record["license"]) == ("demo", path.name, "MIT")
    assert record["files"] == sorted(m.path for m in _MEMBERS)
    paths = record["paths_data"]
    assert isinstance(paths, dict)
    rows = {row["_path"]: row for row in paths["paths"]}
    assert sorted(rows) == record["files"]
    for name, entry in entries.items():
        if entry.kind == "file" and name in rows:
            digest = hashlib.sha256(_content(entry)).hexdigest()
            assert rows[name]["sha256_in_prefix"] == digest
    text = json.dumps(record)
    assert str(tmp_path) not in text
    assert "example.com" not in text


def test_entries_are_a_function_of_the_archive_alone(tmp_path: Path) -> None:
    path = write_conda(tmp_path, _MEMBERS)
    here = describe_conda(path)
    elsewhere = dataclasses.replace(here, url="https://u:secret@mirror.example.com/t/x/demo.conda")
    moved = tmp_path / "moved"
    moved.write_bytes(path.read_bytes())
    facts = [
        write_layer(
            plan_entries([read_conda(p, package, prefix="/opt/env", python_minor="3.11")]),
            len,
            compression="gzip",
        )
        for p, package in ((path, here), (moved, elsewhere))
    ]
    assert facts[0] == facts[1]


def test_a_hard_link_to_a_file_with_the_prefix_is_replaced_as_its_row_says(tmp_path: Path) -> None:
    text = Member(path="a", data=_TEXT, prefix_mode="text")
    linked = Member(path="b", link="a", kind=tarfile.LNKTYPE)
    again = Member(path="c", link="b", kind=tarfile.LNKTYPE, prefix_mode="text")
    rows = list_paths([text, linked, dataclasses.replace(again, link="a")])
    info = {"paths.json": json.dumps(rows).encode()}
    entries = _read(write_conda(tmp_path, [text, linked, again], info=info))
    replaced = _TEXT.replace(OLD.encode(), b"/opt/env")
    assert _content(entries["a"]) == _content(entries["c"]) == replaced
    assert _content(entries["b"]) == _TEXT


def test_hard_links_are_links_in_the_image_wherever_they_go(tmp_path: Path) -> None:
    members = [
        Member(path="site-packages/a", data=b"1", mode=0o755),
        Member(path="python-scripts/b", link="site-packages/a", kind=tarfile.LNKTYPE),
        Member(path="c", link="python-scripts/b", kind=tarfile.LNKTYPE),
    ]
    rows = list_paths([*members[:2], dataclasses.replace(members[2], link="site-packages/a")])
    info = {"paths.json": json.dumps(rows).encode()}
    entries = _read(write_conda(tmp_path, members, index={"noarch": "python"}, info=info))
    target = "opt/env/lib/python3.11/site-packages/a"
    for name in ("bin/b", "c"):
        entry = entries[name]
        assert (entry.kind, entry.link, entry.mode) == ("hardlink", target, 0o755)


def test_bodies_outlive_the_archive(tmp_path: Path) -> None:
    path = write_conda(tmp_path, _MEMBERS)
    entries = _read(path)
    path.unlink()
    assert not list(tmp_path.iterdir())
    assert len(_content(entries["lib/plain.bin"])) == 1_024_000


def _count_handles() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_the_temporary_file_goes_with_the_last_entry(tmp_path: Path) -> None:
    before = _count_handles()
    entries = _read(write_conda(tmp_path, _MEMBERS))
    last = entries.pop("lib/plain.bin")
    entries.clear()
    assert _content(last)
    del last
    assert _count_handles() == before


def test_the_environment_is_known_by_its_history() -> None:
    assert read_history("/opt/env") == (Entry(path="opt/env/conda-meta/history", kind="file"),)


@pytest.mark.parametrize("kind", ["pre-link", "post-link"])
@pytest.mark.parametrize("folder", ["bin", "python-scripts"])
def test_a_link_script_is_refused_by_name(tmp_path: Path, kind: str, folder: str) -> None:
    members = [Member(path=f"{folder}/.demo-{kind}.sh", data=b"exit 0\n", mode=0o755)]
    path = write_conda(tmp_path, members, index={"noarch": "python"})
    with pytest.raises(ImageError) as caught:
        _read(path)
    assert caught.value.code == "layer.link-script"
    assert "`demo-1.0-0.conda`" in caught.value.message
    assert kind in caught.value.message


@pytest.mark.parametrize(
    ("policy", "kind", "taken"),
    [
        ("run", "post-link", True),
        ("run", "pre-link", False),
        ("ignore", "post-link", True),
        ("ignore", "pre-link", True),
    ],
)
def test_the_policy_says_which_scripts_are_taken(
    tmp_path: Path, policy: LinkPolicy, kind: str, taken: bool
) -> None:
    path = write_conda(tmp_path, [Member(path=f"bin/.demo-{kind}.sh", data=b"exit 0\n")])
    facts = describe_conda(path)

    def read() -> tuple[Entry, ...]:
        return read_conda(path, facts, prefix="/opt/env", python_minor="3.11", link_scripts=policy)

    if taken:
        assert f"opt/env/bin/.demo-{kind}.sh" in [entry.path for entry in read()]
        return
    with pytest.raises(ImageError) as caught:
        read()
    assert 'link-scripts = "ignore"' in str(caught.value.hint)


@pytest.mark.parametrize("name", ["bin/.demo-pre-unlink.sh", "bin/.other-post-link.sh"])
def test_scripts_that_linking_does_not_run_are_fine(tmp_path: Path, name: str) -> None:
    assert name in _read(write_conda(tmp_path, [Member(path=name, data=b"x")]))


def test_a_python_that_looks_elsewhere_is_refused(tmp_path: Path) -> None:
    def python(folder: str) -> Path:
        index = {"python_site_packages_path": folder}
        return write_conda(tmp_path, [], name="python", index=index)

    assert _read(python("lib/python3.11/site-packages"))
    with pytest.raises(ImageError) as caught:
        _read(python("lib/python3.11t/site-packages"))
    assert caught.value.code == "layer.site-packages"


def test_a_prefix_that_binaries_have_no_room_for_is_refused(tmp_path: Path) -> None:
    path = write_conda(tmp_path, _MEMBERS)
    with pytest.raises(ImageError) as caught:
        _read(path, prefix="/" + "p" * (len(OLD) + 1))
    assert caught.value.code == "layer.bad-prefix"
    assert "`lib/libtool.so.1`" in caught.value.message


def _refuse(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        _read(path)
    assert caught.value.code == "layer.bad-conda"
    assert f"`{path.name}`" in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"index.json": b""}, "does not say its name"),
        ({"index.json": b"{}"}, "does not say its name"),
        ({"index.json": b'{"name": "a", "version": 1, "build": "0"}'}, "does not say its name"),
        ({"index.json": b"[]"}, "not a JSON object"),
        ({"index.json": b"\xff"}, "not a JSON object"),
        ({"paths.json": b"{}"}, "list of paths"),
        ({"paths.json": b'{"paths": [1]}'}, "list of paths"),
        ({"paths.json": b'{"paths": [{}]}'}, "list of paths"),
        ({"paths.json": b""}, "list of paths"),
        ({"paths.json": b'{"paths": [{"_path": "../x"}]}'}, "outside"),
        ({"paths.json": b'{"paths": [{"_path": "/x"}]}'}, "outside"),
        ({"paths.json": b'{"paths": [{"_path": "x"}]}'}, "not in the archive"),
        ({"paths.json": b'{"paths": [{"_path": "f", "size_in_bytes": 9}]}'}, "9 bytes"),
        (
            {"paths.json": b'{"paths": [{"_path": "f", "prefix_placeholder": "/a"}]}'},
            "not as text nor binary",
        ),
        ({"paths.json": b'{"paths": [{"_path": "f"}, {"_path": "./f"}]}'}, "twice"),
        ({"paths.json": b'{"paths": [{"_path": "pipe"}]}'}, "neither file nor link"),
        ({"paths.json": b'{"paths": [{"_path": "lost"}]}'}, "not in the archive"),
        ({"paths.json": b'{"paths": [{"_path": "loop"}]}'}, "not a file"),
        ({"paths.json": b"", "files": b"f\n", "has_prefix": b"a b\n"}, "list of paths"),
    ],
)
def test_papers_that_cannot_be_are_refused(
    tmp_path: Path, info: dict[str, bytes], message: str
) -> None:
    members = [
        Member(path="f", data=b"1"),
        Member(path="pipe", kind=tarfile.FIFOTYPE),
        Member(path="lost", kind=tarfile.LNKTYPE, link="nowhere"),
        Member(path="loop", kind=tarfile.LNKTYPE, link="loop"),
    ]
    good = {"paths.json": b'{"paths": [{"_path": "f"}]}'}
    assert message in _refuse(write_conda(tmp_path, members, info=good | info))


def test_a_command_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    link = {"noarch": {"type": "python", "entry_points": ["../x = a:b"]}}
    path = write_conda(
        tmp_path, [], index={"noarch": "python"}, info={"link.json": json.dumps(link).encode()}
    )
    assert "`../x = a:b`" in _refuse(path)


@pytest.mark.parametrize("suffix", [".conda", ".tar.bz2"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.97])
def test_an_archive_that_is_cut_short_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = write_conda(tmp_path, _MEMBERS, suffix=suffix)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    _refuse(path)


@pytest.mark.parametrize("suffix", [".conda", ".tar.bz2"])
def test_a_damaged_archive_is_refused(tmp_path: Path, suffix: str) -> None:
    path = write_conda(tmp_path, [Member(path="f", data=os.urandom(5000))], suffix=suffix)
    data = bytearray(path.read_bytes())
    data[2500] ^= 0xFF
    path.write_bytes(data)
    _refuse(path)


_FULL = """
import resource, signal, sys
from pathlib import Path
from envbuild.errors import EnvbuildError
from envbuild.layers.conda import read_conda
from tests.layers.condas import describe_conda

# A limit on the size of files is a disk that is full, as far as a writer can tell.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
path = Path(sys.argv[1])
try:
    read_conda(path, describe_conda(path), prefix="/opt/env", python_minor="3.11")
except EnvbuildError as error:
    print(error.code)
"""


@pytest.mark.parametrize("suffix", [".conda", ".tar.bz2"])
def test_a_full_disk_is_said_so(tmp_path: Path, suffix: str) -> None:
    path = write_conda(tmp_path, [Member(path="f", data=bytes(3_000_000))], suffix=suffix)
    ended = subprocess.run(
        [sys.executable, "-c", _FULL, str(path)], capture_output=True, check=True, text=True
    )
    assert ended.stdout == "disk.full\n"


_BIG = """
import resource, sys
from pathlib import Path
from envbuild.layers.conda import read_conda
from envbuild.layers.order import plan_entries
from envbuild.layers.write import write_layer
from tests.layers.condas import describe_conda

def make(path):
    entries = read_conda(path, describe_conda(path), prefix="/opt/env", python_minor="3.11")
    return write_layer(plan_entries([entries]), len, compression="gzip")

make(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
size = make(Path(sys.argv[2])).plain_size
print(size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_the_package(tmp_path: Path) -> None:
    small = write_conda(tmp_path, _MEMBERS, name="small")
    content = b"0123456789abcdef" * (1 << 16) * 100
    members = [
        Member(path="big.bin", data=b"\0" + OLD.encode() + b"\0" + content, prefix_mode="binary"),
        Member(path="big.txt", data=OLD.encode() + content, prefix_mode="text"),
    ]
    big = write_conda(tmp_path, members, name="big")
    ended = subprocess.run(
        [sys.executable, "-c", _BIG, str(small), str(big)],
        capture_output=True,
        check=True,
        text=True,
    )
    size, kilobytes = map(int, ended.stdout.split())
    assert size > 200_000_000
    assert kilobytes < 20_000
