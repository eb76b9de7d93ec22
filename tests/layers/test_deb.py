"""A Debian package becomes canonical entries of a merged /usr, and no script of it has to run."""

from __future__ import annotations

import gc
import hashlib
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from envbuild.errors import ImageError
from envbuild.layers.deb import merge_path, read_deb
from envbuild.layers.entry import Entry
from envbuild.layers.order import find_clashes, list_entries, plan_entries
from envbuild.layers.skeleton import read_skeleton
from envbuild.lock.model import DebianPackage
from tests.layers.test_skeleton import make_recipe
from tests.rig.debian_archive import Member, make_deb

FILE, FOLDER, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def _package(name: str = "hello", data: bytes = b"") -> DebianPackage:
    return DebianPackage(
        name=name,
        version="1.0-1",
        architecture="amd64",
        path=f"pool/main/{name}_1.0-1_amd64.deb",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
    )


def _read(
    folder: Path,
    members: Sequence[Member],
    *,
    name: str = "hello",
    compression: str = ".xz",
    control: Mapping[str, bytes] | None = None,
) -> dict[str, Entry]:
    data = make_deb(name=name, members=members, compression=compression, control=control)
    file = folder / f"{name}.deb"
    file.write_bytes(data)
    entries = read_deb(file, _package(name, data))
    assert [e.path for e in entries] == sorted({e.path for e in entries})
    return {entry.path: entry for entry in entries}


def _content(entry: Entry) -> bytes:
    assert entry.body is not None
    data = b"".join(entry.body().data)
    assert len(data) == entry.size
    return data


def _file(
    path: str, data: bytes = b"x", *, mode: int = 0o644, uid: int = 0, gid: int = 0
) -> Member:
    return Member(path=path, data=data, mode=mode, uid=uid, gid=gid)


def _folder(path: str, mode: int = 0o755, *, gid: int = 0) -> Member:
    return Member(path=path, kind=FOLDER, mode=mode, gid=gid)


def _link(path: str, target: str) -> Member:
    return Member(path=path, kind=LINK, link=target, mode=0o777)


def _hard(path: str, target: str) -> Member:
    return Member(path=path, kind=HARD, link=target)


def _without_status(entries: Mapping[str, Entry]) -> list[str]:
    return [path for path in entries if not path.startswith("var/lib/dpkg")]


@pytest.mark.parametrize("compression", [".xz", ".zst", ".gz", ""])
def test_every_compression_gives_the_same_entries(tmp_path: Path, compression: str) -> None:
    big = os.urandom(1 << 20)
    members = [_folder("./"), _folder("./usr/bin/"), _file("./usr/bin/hello", big, mode=0o755)]
    entries = _read(tmp_path, members, compression=compression)
    assert _without_status(entries) == ["usr/bin", "usr/bin/hello"]
    assert entries["usr/bin/hello"].mode == 0o755
    assert _content(entries["usr/bin/hello"]) == big


def test_bodies_can_be_read_in_any_order_and_again(tmp_path: Path) -> None:
    contents = {f"./opt/{n}": os.urandom(n * 50_000 + 1) for n in range(9)}
    entries = _read(tmp_path, [_file(path, data) for path, data in contents.items()])
    for _ in range(2):
        for path, data in reversed(contents.items()):
            assert _content(entries[path[2:]]) == data


def test_nothing_is_left_behind_or_open(tmp_path: Path) -> None:
    def handles() -> list[str]:
        found = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return [str(target) for target in found if target.is_relative_to(tmp_path)]

    entries = _read(tmp_path, [_file("./opt/big", os.urandom(2 << 20))])
    assert [p.name for p in tmp_path.iterdir()] == ["hello.deb"]
    (tmp_path / "hello.deb").unlink()
    assert len(_content(entries["opt/big"])) == 2 << 20
    assert len(handles()) == 1
    entries.clear()
    gc.collect()
    assert handles() == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("bin/ls", "usr/bin/ls"),
        ("lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
        ("sbin/ldconfig", "usr/sbin/ldconfig"),
        ("var/run/thing/a", "run/thing/a"),
        ("var/lock", "run/lock"),
        ("binary/a", "binary/a"),
        ("usr/bin/ls", "usr/bin/ls"),
        ("etc/lib/a", "etc/lib/a"),
    ],
)
def test_paths_are_those_of_a_merged_usr(old: str, new: str) -> None:
    assert merge_path(old) == new


def test_no_package_can_take_the_place_of_the_merging_links(tmp_path: Path) -> None:
    members = [_folder("./bin/"), _file("./bin/ls"), _folder("./usr/"), _folder("./usr/bin/")]
    members += [_folder("./lib/"), _link("./sbin", "usr/sbin"), _folder("./var/run/")]
    paths = _without_status(_read(tmp_path, members))
    assert paths == ["run", "usr", "usr/bin", "usr/bin/ls", "usr/lib"]


@pytest.mark.parametrize(
    ("path", "target", "wanted"),
    [
        # Beside it, as most are: as it is.
        ("lib/x/liba.so.1", "liba.so.1.2", "liba.so.1.2"),
        ("usr/bin/a", "../lib/a/a", "../lib/a/a"),
        ("etc/os-release", "../usr/lib/os-release", "../usr/lib/os-release"),
        # From a folder that moves one level down, over the root.
        ("lib/x/liba.so", "../../usr/share/a", "../../share/a"),
        ("sbin/a", "../bin/a", "../bin/a"),
        ("bin/a", "../etc/a", "../../etc/a"),
        # To a folder that moves.
        ("usr/lib/x/libz.so", "../../../lib/x/libz.so.1", "libz.so.1"),
        ("lib64/ld.so", "../lib/x/ld.so", "../lib/x/ld.so"),
        # Absolute ones go through the skeleton's links.
        ("lib64/ld-linux.so.2", "/lib/x/ld.so", "/lib/x/ld.so"),
    ],
)
def test_links_lead_where_the_package_meant(
    tmp_path: Path, path: str, target: str, wanted: str
) -> None:
    entries = _read(tmp_path, [_link(f"./{path}", target)])
    entry = entries[merge_path(path)]
    assert (entry.kind, entry.link, entry.mode) == ("symlink", wanted, 0o777)


def test_a_link_to_what_is_now_itself_gives_way_to_the_file(tmp_path: Path) -> None:
    members = [_file("./bin/touch", b"program"), _link("./usr/bin/touch", "/bin/touch")]
    members += [_file("./sbin/a"), _link("./usr/sbin/a", "../../sbin/a")]
    entries = _read(tmp_path, members)
    assert _content(entries["usr/bin/touch"]) == b"program"
    assert entries["usr/sbin/a"].kind == "file"


def test_of_hard_links_the_first_path_has_the_content(tmp_path: Path) -> None:
    members = [
        _file("./usr/bin/perl5.36", b"perl", mode=0o755),
        _hard("./usr/bin/perl", "./usr/bin/perl5.36"),
        _hard("./bin/aperl", "./usr/bin/perl"),
    ]
    entries = _read(tmp_path, members)
    assert _content(entries["usr/bin/aperl"]) == b"perl"
    for path in ("usr/bin/perl", "usr/bin/perl5.36"):
        entry = entries[path]
        assert (entry.kind, entry.link, entry.mode) == ("hardlink", "usr/bin/aperl", 0o755)


def test_a_hard_link_outlives_a_target_that_is_left_out(tmp_path: Path) -> None:
    members = [
        _file("./usr/share/man/man1/a.1", b"page"),
        _hard("./opt/a", "./usr/share/man/man1/a.1"),
    ]
    entries = _read(tmp_path, members)
    assert _without_status(entries) == ["opt/a"]
    assert _content(entries["opt/a"]) == b"page"


def test_owner_is_root_and_special_bits_stay_only_where_they_meant_root(tmp_path: Path) -> None:
    entries = _read(
        tmp_path,
        [
            _file("./bin/su", mode=0o4755),
            _file("./usr/bin/wall", mode=0o2755, gid=5),
            _file("./usr/bin/at", mode=0o6755, uid=1, gid=1),
            _folder("./var/local/", 0o2775, gid=50),
            _folder("./tmp/", 0o1777),
            _file("./etc/shared", mode=0o664),
            _file("./etc/secret", mode=0o640, gid=42),
        ],
    )
    modes = {path: oct(entries[path].mode) for path in _without_status(entries)}
    assert modes == {
        "etc/secret": "0o640",
        "etc/shared": "0o644",
        "tmp": "0o1777",
        "usr/bin/at": "0o755",
        "usr/bin/su": "0o4755",
        "usr/bin/wall": "0o755",
        "var/local": "0o755",
    }
    assert {entry.owner for entry in entries.values()} == {0}


def test_documentation_is_left_out_but_for_copyright(tmp_path: Path) -> None:
    kept = ["usr/share/doc/hello/copyright", "usr/share/doc/libhello", "usr/share/misc/a"]
    members = [
        _folder("./usr/share/doc/"),
        _folder("./usr/share/doc/hello/"),
        _file("./usr/share/doc/hello/copyright"),
        _file("./usr/share/doc/hello/changelog.gz"),
        _file("./usr/share/doc/hello/examples/copyright"),
        _link("./usr/share/doc/libhello", "hello"),
        _folder("./usr/share/man/"),
        _file("./usr/share/man/man1/hello.1.gz"),
        _link("./usr/share/man/man1/hi.1.gz", "hello.1.gz"),
        _file("./usr/share/info/hello.info"),
        _file("./usr/share/locale/de/LC_MESSAGES/hello.mo"),
        _file("./usr/share/lintian/overrides/hello"),
        _file("./usr/share/misc/a"),
    ]
    assert _without_status(_read(tmp_path, members)) == kept


def test_dpkg_finds_what_it_keeps_of_a_package(tmp_path: Path) -> None:
    sums = b"0" * 32 + b"  bin/hello\n" + b"1" * 32 + b"  usr/share/man/man1/hello.1.gz\n"
    members = [_folder("./"), _folder("./bin/"), _file("./bin/hello"), _link("./bin/h", "hello")]
    control = {"md5sums": sums, "postinst": b"exit 1\n", "symbols": b"for building\n"}
    entries = _read(tmp_path, members, control=control)
    kept = {p: e for p, e in entries.items() if p.startswith("var/lib/dpkg/")}
    assert list(kept) == [
        f"var/lib/dpkg/info/hello.{kind}" for kind in ("control", "list", "md5sums", "postinst")
    ]
    described = _content(kept["var/lib/dpkg/info/hello.control"]).decode()
    assert described.startswith("Package: hello\nVersion: 1.0-1\nArchitecture: amd64\n")
    assert described.endswith("Description: a test\n")
    # As the archive has them: dpkg itself follows the links of a merged /usr.
    assert _content(kept["var/lib/dpkg/info/hello.list"]) == b"/.\n/bin\n/bin/hello\n/bin/h\n"
    assert _content(kept["var/lib/dpkg/info/hello.md5sums"]) == sums
    assert kept["var/lib/dpkg/info/hello.postinst"].mode == 0o755


def test_certificates_are_bundled_where_programs_look(tmp_path: Path) -> None:
    folder = "./usr/share/ca-certificates/mozilla"
    members = [_file(f"{folder}/B.crt", b"two"), _file(f"{folder}/A.crt", b"one\n\n")]
    entries = _read(tmp_path, members, name="ca-certificates")
    assert _content(entries["etc/ssl/certs/ca-certificates.crt"]) == b"one\ntwo\n"
    assert _content(entries["etc/ca-certificates.conf"]) == b"mozilla/A.crt\nmozilla/B.crt\n"
    assert entries["usr/lib/ssl/cert.pem"].link == "/etc/ssl/certs/ca-certificates.crt"
    assert entries["etc/ssl/cert.pem"].link == "certs/ca-certificates.crt"


def test_base_files_come_as_its_script_would_have_left_them(tmp_path: Path) -> None:
    members = [
        _folder("./var/run/"),
        _folder("./var/lock/", 0o1777),
        _folder("./root/", 0o700),
        _file("./usr/share/base-files/profile", b"PATH=...\n"),
    ]
    entries = _read(tmp_path, members, name="base-files")
    assert (entries["var/run"].link, entries["var/lock"].link) == ("/run", "/run/lock")
    assert entries["run/lock"].mode == 0o1777
    assert entries["root"].mode == 0o700
    assert _content(entries["etc/profile"]) == b"PATH=...\n"
    assert "etc/motd" not in entries  # this package has none to copy
    assert entries["usr/local/bin"].kind == "directory"


def test_certificates_are_found_by_their_subject(tmp_path: Path) -> None:
    folder = "./usr/share/ca-certificates/mozilla"
    entries = _read(tmp_path, [_file(f"{folder}/A B.crt", b"none")], name="ca-certificates")
    link = entries["etc/ssl/certs/A_B.pem"]
    assert link.link == "/usr/share/ca-certificates/mozilla/A B.crt"
    assert entries["usr/local/share/ca-certificates"].kind == "directory"


def test_pam_s_common_files_are_made_from_their_templates(tmp_path: Path) -> None:
    template = b"# head\n$auth_primary\nauth\trequisite\tpam_deny.so\n$auth_additional\n"
    session = b"$session_primary\n# here\n$session_additional\n# end\n"
    members = [_file("./usr/share/pam/common-auth", template)]
    members += [_file("./usr/share/pam/common-session", session)]
    entries = _read(tmp_path, members, name="libpam-runtime")
    assert _content(entries["etc/pam.d/common-auth"]) == (
        b"# head\nauth\t[success=1 default=ignore]\tpam_unix.so nullok\n"
        b"auth\trequisite\tpam_deny.so\n"
    )
    lines = _content(entries["etc/pam.d/common-session"]).split(b"\n")
    assert lines[1:] == [b"# here", b"session\trequired\tpam_unix.so ", b"# end", b""]
    assert "etc/pam.d/common-account" not in entries


def test_questions_that_nobody_is_asked_have_their_usual_answers(tmp_path: Path) -> None:
    name = "10-hinting-slight.conf"
    members = [_file(f"./usr/share/fontconfig/conf.avail/{name}")]
    entries = _read(tmp_path, members, name="fontconfig-config")
    assert entries[f"etc/fonts/conf.d/{name}"].link == f"/usr/share/fontconfig/conf.avail/{name}"
    assert "etc/fonts/conf.d/70-no-bitmaps.conf" not in entries
    assert b"127.0.0.1\tlocalhost\n" in _content(_read(tmp_path, [], name="netbase")["etc/hosts"])
    java = _read(tmp_path, [], name="openjdk-17-jre-headless")
    assert _content(java["etc/.java/.systemPrefs/.system.lock"]) == b""


def test_a_shell_and_a_time_zone_are_there(tmp_path: Path) -> None:
    assert _read(tmp_path, [_file("./bin/dash")], name="dash")["usr/bin/sh"].link == "dash"
    shipped = [_file("./bin/dash"), _link("./bin/sh", "dash")]
    assert _read(tmp_path, shipped, name="dash")["usr/bin/sh"].link == "dash"
    zone = _read(tmp_path, [], name="tzdata")["etc/localtime"]
    assert zone.link == "/usr/share/zoneinfo/Etc/UTC"


def test_packages_of_the_base_and_the_skeleton_fit_together(tmp_path: Path) -> None:
    base = [_folder(f"./{p}/") for p in ("bin", "lib", "var/run", "proc", "home", "run")]
    base += [_folder("./root/", 0o700), _folder("./tmp/", 0o1777), _folder("./var/lock/", 0o1777)]
    groups = {
        "base-files": [*_read(tmp_path, base, name="base-files").values()],
        "dash": [*_read(tmp_path, [_file("./bin/dash")], name="dash").values()],
        "skeleton": [*read_skeleton(make_recipe())],
    }
    traces = {name: list_entries(entries) for name, entries in groups.items()}
    assert find_clashes(traces) == ()
    plan_entries(list(groups.values()))


def test_entries_do_not_depend_on_the_order_in_the_package(tmp_path: Path) -> None:
    members = [
        _folder("./usr/"),
        _folder("./usr/bin/"),
        _file("./usr/bin/b", b"b"),
        _file("./bin/a", b"a"),
        _link("./bin/c", "a"),
    ]
    one = _read(tmp_path, members, name="one")
    two = _read(tmp_path, members[::-1], name="one")
    # Only dpkg's own list of paths is in the package's order.
    lists = [list_entries(e for p, e in x.items() if not p.endswith(".list")) for x in (one, two)]
    assert lists[0] == lists[1]


@pytest.mark.parametrize(
    "member",
    [
        Member(path="./dev/null", kind=tarfile.CHRTYPE),
        Member(path="./run/pipe", kind=tarfile.FIFOTYPE),
        _file("./../etc/passwd"),
        _file("/etc/passwd"),
        _file("./usr/../../a"),
        _hard("./a", "./missing"),
    ],
)
def test_what_a_layer_can_not_hold_is_refused(tmp_path: Path, member: Member) -> None:
    with pytest.raises(ImageError) as caught:
        _read(tmp_path, [member])
    assert caught.value.code == "layer.bad-deb"
    assert "`hello.deb`" in caught.value.message


def test_another_package_than_the_locked_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "hello.deb"
    file.write_bytes(make_deb(name="hello", version="2.0"))
    with pytest.raises(ImageError, match=r"it is `hello 2\.0 amd64`, not `hello 1\.0-1 amd64`"):
        read_deb(file, _package())


def _damage(data: bytes, how: str) -> bytes:
    return {
        "empty": b"",
        "no archive": b"PK" + data,
        "cut in a header": data[:90],
        "cut in the data": data[:-200],
        "no data": data[: data.index(b"data.tar")],
        "broken header": data.replace(b"`\n", b"xx", 1),
        "broken size": data.replace(b"100644  4 ", b"100644  ? ", 1),
        "other compression": data.replace(b"data.tar.xz", b"data.tar.yz"),
        "broken data": data[:-100] + bytes(byte ^ 255 for byte in data[-100:]),
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "no archive",
        "cut in a header",
        "cut in the data",
        "no data",
        "broken header",
        "broken size",
        "other compression",
        "broken data",
    ],
)
def test_a_damaged_package_is_a_clear_error(tmp_path: Path, how: str) -> None:
    data = make_deb(name="hello", members=[_file("./opt/a", os.urandom(5000))])
    damaged = _damage(data, how)
    assert damaged != data
    file = tmp_path / "hello.deb"
    file.write_bytes(damaged)
    with pytest.raises(ImageError) as caught:
        read_deb(file, _package())
    assert caught.value.code == "layer.bad-deb"
    assert "`hello.deb`" in caught.value.message
