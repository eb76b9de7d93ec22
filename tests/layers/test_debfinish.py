"""What all packages make together: dpkg, shells and users find what they would on a real system."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from envbuild.layers.deb import read_deb
from envbuild.layers.debfinish import read_finish
from envbuild.layers.entry import Entry
from envbuild.layers.order import plan_entries
from envbuild.layers.write import write_layer
from envbuild.lock.model import DebianPackage
from tests.layers.elfs import make_library
from tests.rig.debian_archive import Member, make_deb
from tests.rig.need import missing

LIB = "./usr/lib/x86_64-linux-gnu"


def _deb(
    folder: Path,
    name: str,
    *members: Member,
    architecture: str = "amd64",
    control: Mapping[str, str] | None = None,
    **fields: str,
) -> tuple[Entry, ...]:
    """Return the entries of a package that is made here."""
    texts = {key: text.encode() for key, text in {"md5sums": "", **(control or {})}.items()}
    data = make_deb(
        name=name, members=members, control=texts, architecture=architecture,
        fields={key.replace("_", "-"): value for key, value in fields.items()},
    )  # fmt: skip
    file = folder / f"{name}.deb"
    file.write_bytes(data)
    package = DebianPackage(
        name=name, version="1.0-1", architecture=architecture, path=f"pool/{name}.deb",
        sha256="0" * 64, size=len(data),
    )  # fmt: skip
    return read_deb(file, package)


def _file(path: str, data: bytes = b"x", *, mode: int = 0o644) -> Member:
    return Member(path=path, data=data, mode=mode)


def _system(folder: Path) -> list[tuple[Entry, ...]]:
    return [
        _deb(
            folder, "libone1", _file(f"{LIB}/libone.so.1.2", make_library("libone.so.1")),
            _file("./etc/ld.so.conf", b"/lib/x86_64-linux-gnu\n"),
            control={"triggers": "# by a tool\nactivate-noawait ldconfig\n"}, Multi_Arch="same",
        ),
        _deb(
            folder, "libc-bin", _file("./etc/bindresvport.blacklist", b"1\n"),
            control={"triggers": "interest-await ldconfig\ninterest-noawait /usr/share/fonts\n",
                     "conffiles": "/etc/bindresvport.blacklist\n/etc/gone\n"},
        ),
        _deb(
            folder, "shell", _file("./bin/shell", mode=0o755),
            _file("./usr/share/debianutils/shells.d/shell", b"/bin/shell\n/usr/bin/none\n"),
            _file("./usr/share/debianutils/shells", b"# head\n/bin/shell\n"), architecture="all",
        ),
    ]  # fmt: skip


def _finish(groups: Sequence[Sequence[Entry]], **options: str) -> dict[str, Entry]:
    entries = read_finish(groups, **options)
    assert [e.path for e in entries] == sorted({e.path for e in entries})
    return {entry.path: entry for entry in entries}


def _text(entry: Entry) -> str:
    assert entry.body is not None
    data = b"".join(entry.body().data)
    assert len(data) == entry.size
    return data.decode(errors="replace")


def _unpack(root: Path, *groups: Sequence[Entry]) -> None:
    root.mkdir()
    layer = root.parent / "layer.tar.gz"
    with layer.open("wb") as out:
        write_layer(plan_entries(groups), out.write, compression="gzip")
    subprocess.run(["tar", "-xpzf", layer, "-C", root], check=True)


def test_dpkg_reads_its_database(tmp_path: Path) -> None:
    tool = shutil.which("dpkg-query")
    if tool is None:
        missing("dpkg-query", "run these tests on Debian")
    groups = _system(tmp_path)
    root = tmp_path / "root"
    _unpack(root, *groups, read_finish(groups))
    database = [f"--admindir={root}/var/lib/dpkg"]

    def ask(*words: str) -> str:
        done = subprocess.run([tool, *database, *words], check=True, capture_output=True, text=True)
        assert not done.stderr
        return done.stdout

    shown = ask("-W", "-f", "${binary:Package} ${Version} ${db:Status-Status}\n")
    assert shown.split("\n")[:-1] == [
        "libc-bin 1.0-1 installed", "libone1:amd64 1.0-1 installed", "shell 1.0-1 installed",
    ]  # fmt: skip
    assert ask("-L", "shell").split("\n")[0] == "/bin/shell"
    assert ask("-S", "/bin/shell") == "shell: /bin/shell\n"
    assert ask("-W", "-f", "${Conffiles}", "libc-bin").split() == [
        "/etc/bindresvport.blacklist", "b026324c6904b2a9cb4b88d6d61c81d1",
    ]  # fmt: skip
    assert "triggers" in ask("--control-list", "libone1")
    audit = subprocess.run(
        ["dpkg", *database, "--audit"], check=True, capture_output=True, text=True
    )
    assert (audit.stdout, audit.stderr) == ("", "")


def test_the_layer_holds_what_depends_on_all_packages(tmp_path: Path) -> None:
    made = _finish(_system(tmp_path))
    # A library's name, which no package brought.
    assert made["usr/lib/x86_64-linux-gnu/libone.so.1"].link == "libone.so.1.2"
    assert "/lib/x86_64-linux-gnu/libone.so.1\0" in _text(made["etc/ld.so.cache"])
    assert _text(made["etc/shells"]).split("\n")[1:] == ["/bin/shell", "/usr/bin/shell", ""]
    assert _text(made["var/lib/dpkg/triggers/ldconfig"]) == "libc-bin\n"
    assert _text(made["var/lib/dpkg/triggers/File"]) == "/usr/share/fonts libc-bin/noawait\n"
    assert _text(made["var/lib/dpkg/arch"]) == "amd64\n"
    assert not [path for path in made if path.startswith("var/lib/dpkg/status.d")]


def test_a_base_from_elsewhere_keeps_what_is_its_own(tmp_path: Path) -> None:
    for base in ("image", "dockerfile"):
        made = _finish(_system(tmp_path), base=base, user="nonroot")
        assert sorted(made) == [
            f"var/lib/dpkg/status.d/{name}" for name in ("libc-bin", "libone1", "shell")
        ]
        assert _text(made["var/lib/dpkg/status.d/libone1"]).startswith("Package: libone1\n")


def test_packages_on_scratch_are_found_by_their_old_paths(tmp_path: Path) -> None:
    loader = _file("./lib64/ld-linux-x86-64.so.2", make_library("ld-linux-x86-64.so.2"))
    made = _finish([*_system(tmp_path), _deb(tmp_path, "libc6", loader)], base="scratch")
    links = {path: e.link for path, e in made.items() if e.kind == "symlink" and "/" not in path}
    assert links == {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64"}


def test_the_order_of_packages_does_not_matter(tmp_path: Path) -> None:
    def describe(groups: Sequence[Sequence[Entry]]) -> list[tuple[str, str]]:
        made = read_finish(groups, user="nonroot")
        return [(e.path, _text(e) if e.kind == "file" else e.link) for e in made]

    groups = _system(tmp_path)
    assert describe(groups) == describe(groups[::-1])


SYSUSERS = b"""\
# a comment
u  beta   -      "The Beta" /var/lib/beta /bin/bash
u! alpha  880
g  gamma  -
g  audio  -
m  alpha  gamma
u  x%i    -
u  broken "not closed
"""


def _users(made: Mapping[str, Entry], name: str) -> dict[str, list[str]]:
    return {row.split(":")[0]: row.split(":") for row in _text(made[name]).splitlines()}


def test_declared_users_are_made(tmp_path: Path) -> None:
    package = _deb(tmp_path, "daemons", _file("./usr/lib/sysusers.d/daemons.conf", SYSUSERS))
    made = _finish([package], user="1234")
    users, groups = _users(made, "etc/passwd"), _users(made, "etc/group")
    assert users["beta"][2:] == ["101", "101", "The Beta", "/var/lib/beta", "/bin/bash"]
    assert users["alpha"][2:] == ["880", "880", "", "/", "/usr/sbin/nologin"]
    assert [groups[name][2] for name in ("beta", "alpha", "gamma", "audio")] == [
        "101", "880", "102", "29",
    ]  # fmt: skip
    assert users["user"][2] == "1234"
    assert users.keys() == _users(made, "etc/shadow").keys()
    assert groups.keys() == _users(made, "etc/gshadow").keys()
    assert not [name for name in users if "%" in name]


SCRIPT = """\
#!/bin/sh
case "$1" in configure)
  if ! getent group _ssh >/dev/null; then
    addgroup --system --quiet --force-badname _ssh
  fi
  adduser --system --quiet --home /run/one --no-create-home --group --gecos "One" one
  adduser --quiet --system two --ingroup nogroup --shell /bin/sh
  useradd -r -d /srv/three three
  adduser one audio
  adduser --system "$NAME"
  groupadd people
  deluser --system old
esac
"""


def test_users_of_scripts_in_fixed_words_are_made(tmp_path: Path) -> None:
    package = _deb(tmp_path, "daemons", control={"postinst": SCRIPT})
    made = _finish([package], user="nonroot")
    users, groups = _users(made, "etc/passwd"), _users(made, "etc/group")
    assert users["one"][2:] == ["102", "102", "One", "/run/one", "/usr/sbin/nologin"]
    assert users["two"][2:] == ["104", "65534", "", "/nonexistent", "/bin/sh"]
    assert users["three"][2:6] == ["103", "103", "", "/srv/three"]
    assert groups["_ssh"][2] == "101"
    assert not {"$NAME", "people", "old", "audio"} & users.keys()
    assert "people" not in groups


@pytest.mark.parametrize("user", [None, "nonroot"])
def test_without_wishes_the_users_stay_the_skeleton_s(tmp_path: Path, user: str | None) -> None:
    made = read_finish(_system(tmp_path), user=user)
    assert not [e.path for e in made if e.path in {"etc/passwd", "etc/group"}]


def test_alternatives_are_there_for_the_loader(tmp_path: Path) -> None:
    groups = [
        *_system(tmp_path),
        _deb(
            tmp_path, "libblas3", _file(f"{LIB}/blas/libblas.so.3", make_library("libblas.so.3")),
            control={
                "postinst": "#!/bin/sh\nupdate-alternatives --install "
                "/usr/lib/x86_64-linux-gnu/libblas.so.3 libblas.so.3-x86_64-linux-gnu "
                "/usr/lib/x86_64-linux-gnu/blas/libblas.so.3 10\n"
            },
        ),
    ]  # fmt: skip
    made = _finish(groups)
    name = "libblas.so.3-x86_64-linux-gnu"
    assert made["usr/lib/x86_64-linux-gnu/libblas.so.3"].link == f"/etc/alternatives/{name}"
    assert made[f"etc/alternatives/{name}"].link == "/usr/lib/x86_64-linux-gnu/blas/libblas.so.3"
    assert "/lib/x86_64-linux-gnu/libblas.so.3\0" in _text(made["etc/ld.so.cache"])
