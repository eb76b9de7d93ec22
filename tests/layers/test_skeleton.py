"""An image's frame: users, links of a merged /usr, a virtual environment, a folder to work in."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envbuild.identity.recipe import Base, ImageSettings, Recipe
from envbuild.layers.entry import Entry
from envbuild.layers.skeleton import find_account, read_skeleton

MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"


def make_recipe(kind: Any = "debian", *, user: str = "nonroot", **fields: Any) -> Recipe:
    """Return a recipe without artifacts."""
    recipe = Recipe(
        platform="linux-64",
        base=Base(kind=kind),
        artifacts=(),
        prefix="/opt/env",
        python_minor="3.11",
        interpreter="/usr/bin/python3.11",
        settings=ImageSettings(user=user, labels={}),
    )
    return replace(recipe, **fields)


def _read(recipe: Recipe) -> dict[str, Entry]:
    entries = read_skeleton(recipe)
    assert [e.path for e in entries] == sorted({e.path for e in entries})
    return {entry.path: entry for entry in entries}


def _text(entry: Entry) -> str:
    assert entry.body is not None
    data = b"".join(entry.body().data)
    assert len(data) == entry.size
    return data.decode()


def _users(entries: dict[str, Entry]) -> dict[str, list[str]]:
    rows = [line.split(":") for line in _text(entries["etc/passwd"]).splitlines()]
    assert all(len(row) == 7 for row in rows)
    return {row[0]: row for row in rows}


def test_a_system_has_its_links_users_and_folders() -> None:
    entries = _read(make_recipe())
    links = {path: e.link for path, e in entries.items() if e.kind == "symlink" and "/" not in path}
    assert links == {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
    assert {"root", "nobody", "nonroot"} <= set(_users(entries))
    assert (entries["tmp"].mode, entries["root"].mode) == (0o1777, 0o700)
    assert "hosts:          files dns\n" in _text(entries["etc/nsswitch.conf"])


def test_nobody_has_a_password_and_no_machine_a_number() -> None:
    entries = _read(make_recipe())
    rows = [line.split(":") for line in _text(entries["etc/shadow"]).splitlines()]
    assert {(row[1], len(row)) for row in rows} == {("*", 9)}
    assert [row[0] for row in rows] == list(_users(entries))
    assert entries["etc/shadow"].mode == entries["etc/gshadow"].mode == 0o640
    assert _text(entries["etc/machine-id"]) == ""


def test_arm64_has_no_lib64() -> None:
    # Its loader is /lib/ld-linux-aarch64.so.1; prefix's own lib64 stays.
    entries = _read(make_recipe(platform="linux-aarch64"))
    assert "lib64" not in entries
    assert entries["lib"].link == "usr/lib"


def test_scratch_has_users_and_tmp_and_no_system() -> None:
    paths = set(_read(make_recipe("scratch", interpreter="")))
    users = {"etc/group", "etc/gshadow", "etc/passwd", "etc/shadow"}
    assert paths == {*users, "home/nonroot", "tmp", "workspace"}


def test_an_image_keeps_its_own_users_and_folders() -> None:
    paths = set(_read(make_recipe("image", interpreter="")))
    assert paths == {"workspace"}


def test_every_group_of_a_user_exists() -> None:
    entries = _read(make_recipe(user="1000:2000"))
    groups = [line.split(":") for line in _text(entries["etc/group"]).splitlines()]
    assert all(len(row) == 4 for row in groups)
    numbers = {row[2] for row in groups}
    assert len(numbers) == len(groups)
    named = dict.fromkeys(("nobody", "sync", "_apt"), "nogroup")
    names = {row[0] for row in groups}
    for name, row in _users(entries).items():
        assert row[3] in numbers
        assert named.get(name, name) in names


@pytest.mark.parametrize(
    ("user", "uid", "gid", "name"),
    [
        ("root", 0, 0, "root"),
        ("nonroot", 65532, 65532, "nonroot"),
        ("1000", 1000, 1000, "user"),
        ("1000:100", 1000, 100, "user"),
        ("65532", 65532, 65532, "nonroot"),
        ("0", 0, 0, "root"),
    ],
)
@pytest.mark.parametrize("kind", ["debian", "scratch"])
def test_the_image_s_user_has_a_name_a_home_and_the_workspace(
    kind: str, user: str, uid: int, gid: int, name: str
) -> None:
    account = find_account(user)
    assert (account.uid, account.gid, account.name) == (uid, gid, name)
    entries = _read(make_recipe(kind, user=user))
    row = _users(entries)[name]
    assert row[2:4] == [str(uid), str(gid)]
    assert entries["workspace"].owner == uid
    if uid:
        assert entries[row[5].lstrip("/")].owner == uid


@pytest.mark.parametrize("kind", ["debian", "image", "scratch"])
def test_the_workspace_is_the_user_s_on_every_base(kind: str) -> None:
    entry = _read(make_recipe(kind, user="1234:5"))["workspace"]
    assert (entry.kind, entry.mode, entry.owner) == ("directory", 0o755, 1234)


def test_without_an_interpreter_there_is_no_environment() -> None:
    assert not [p for p in _read(make_recipe(interpreter="")) if p.startswith("opt")]


def test_the_environment_is_one_that_python_takes_for_its_own(tmp_path: Path) -> None:
    prefix = tmp_path / "env"
    interpreter = str(Path(sysconfig.get_config_var("BINDIR")) / f"python{MINOR}")
    recipe = make_recipe("image", prefix=str(prefix), interpreter=interpreter, python_minor=MINOR)
    for path, entry in _read(recipe).items():
        target = Path("/") / path
        if not target.is_relative_to(prefix):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == "directory":
            target.mkdir(exist_ok=True, parents=True)
        elif entry.kind == "symlink":
            target.symlink_to(entry.link)
        else:
            target.write_text(_text(entry))
    code = "import sys, sysconfig; print(sys.prefix, sysconfig.get_path('purelib'), len(sys.path))"
    for name in ("python", "python3", f"python{MINOR}"):
        ran = subprocess.run(
            [prefix / "bin" / name, "-c", code], check=True, capture_output=True, text=True
        )
        site = prefix / "lib" / f"python{MINOR}" / "site-packages"
        assert ran.stdout.split()[:2] == [str(prefix), str(site)]


def test_the_same_recipe_gives_the_same_bytes() -> None:
    one, two = _read(make_recipe()), _read(make_recipe())
    assert one.keys() == two.keys()
    texts = [p for p, e in one.items() if e.kind == "file"]
    assert [_text(one[p]) for p in texts] == [_text(two[p]) for p in texts]


def test_the_name_of_the_base_and_labels_do_not_matter() -> None:
    plain = make_recipe("image")
    other = replace(
        plain,
        base=Base(kind="image", digest="sha256:" + "0" * 64, reference="a:b"),
        settings=ImageSettings(user="nonroot", labels={"team": "x"}),
    )
    strip = [(e.path, e.kind, e.mode, e.link, e.owner) for e in read_skeleton(plain)]
    assert strip == [(e.path, e.kind, e.mode, e.link, e.owner) for e in read_skeleton(other)]
