"""apt's own logins open a private archive, and get into nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuild.errors import LockError
from envbuild.kit.places import Cache
from envbuild.lock.apt_auth import add_login
from envbuild.lock.apt_sources import AptConfig
from envbuild.lock.debian import fetch_debian, resolve_debian
from envbuild.spec.settings import Settings
from tests.rig.debian_archive import DebianRig

TEXT = """\
# machine deb.example.com login nobody password commented
machine deb.example.com/team
    login robot
    password p@ss:/word${HOME}
machine http://plain.example.com:8080 login robot password open
machine deb.example.com login other password rest
"""


@pytest.mark.parametrize(
    ("root", "login"),
    [
        ("https://deb.example.com/team/debian", "robot:p%40ss%3A%2Fword%24%7BHOME%7D@"),
        ("https://deb.example.com/debian", "other:rest@"),
        ("https://DEB.example.com/debian", "other:rest@"),
        ("http://deb.example.com/team", ""),  # in the clear, and the entry doesn't say so
        ("https://deb.example.com:8443/team", ""),
        ("http://plain.example.com:8080/debian", "robot:open@"),
        ("https://plain.example.com:8080/debian", ""),
        ("https://me:mine@deb.example.com/team", ""),
        ("file:///srv/debian", ""),
    ],
)
@pytest.mark.parametrize("part", [False, True])
def test_the_first_entry_that_fits_counts(
    tmp_path: Path, root: str, login: str, part: bool
) -> None:
    config = AptConfig(netrc=tmp_path / "auth.conf", netrc_parts=tmp_path / "auth.conf.d")
    assert add_login(root, config) == root
    config.netrc_parts.mkdir()
    (config.netrc_parts / "team.conf" if part else config.netrc).write_text(TEXT)
    (config.netrc_parts / "old.conf.bak").write_text("machine deb.example.com login x password y")
    scheme, _, rest = root.partition("://")
    assert add_login(root, config) == f"{scheme}://{login}{rest}"


def test_a_private_archive_is_opened_by_apts_login(
    debian_archive: DebianRig, cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    debian_archive.add("tool")
    debian_archive.publish()
    debian_archive.server.credentials = ("robot", "hush@:/%")

    def lock() -> str:
        (package,) = resolve_debian(
            ["tool"], suite="bookworm", architecture="amd64", settings=Settings(), cache=cache
        )
        path = fetch_debian(package, suite="bookworm", settings=Settings(), cache=cache)
        assert path.is_file()
        return repr(package)

    with pytest.raises(LockError) as caught:
        lock()
    assert caught.value.code == "lock.archive-down"
    host = debian_archive.url.partition("://")[2]
    folder = debian_archive.etc / "auth.conf.d"
    folder.mkdir()
    entry = f"machine http://{host} login robot password"
    (folder / "team.conf").write_text(f"{entry} wrong\n")
    with pytest.raises(LockError) as caught:
        lock()
    assert "401" in caught.value.message
    assert "wrong" not in str(caught.value)
    (folder / "team.conf").write_text(f"{entry} hush@:/%\n")
    assert "hush" not in lock()
