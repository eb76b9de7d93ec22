"""apt's own logins open a private archive, and get into nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuild.errors import EnvbuildError, LockError
from envbuild.kit.places import Cache
from envbuild.lock.apt_auth import find_login
from envbuild.lock.apt_sources import AptConfig
from envbuild.lock.debian import fetch_debian, resolve_debian
from envbuild.spec.settings import Settings
from tests.rig.debian_archive import DebianRig

ENTRY = " login robot password hush\n"
DEB = "https://deb.example.com/debian"


def _find(config: AptConfig, root: str) -> tuple[str, str] | None:
    return find_login(f"{root}/dists/bookworm/InRelease", config).login


@pytest.fixture
def config(tmp_path: Path) -> AptConfig:
    return AptConfig(netrc=tmp_path / "auth.conf", netrc_parts=tmp_path / "auth.conf.d")


# The rules are those of apt 2.6, as a server saw them that it asked with such entries.
@pytest.mark.parametrize(
    ("machine", "root", "sent"),
    [
        ("deb.example.com", DEB, True),
        ("deb.example.com", "http://deb.example.com/debian", False),  # in the clear, unasked
        ("http://deb.example.com", "http://deb.example.com/debian", True),
        ("http://deb.example.com", DEB, False),
        ("deb.example.com", "https://deb.example.com:8443/debian", True),
        ("deb.example.com:8443", "https://deb.example.com:8443/debian", True),
        ("deb.example.com:443", DEB, False),
        ("deb.example.com", "https://more.deb.example.com/debian", False),
        ("deb.example.com", "https://deb.example.com.org/debian", False),
        ("deb.example.com/", DEB, True),
        ("deb.example.com/deb", DEB, True),
        ("deb.example.com/debian/", DEB, True),
        ("deb.example.com/team", DEB, False),
        ("deb.example.com/", "https://deb.example.com:8443/debian", False),
        ("deb.example.com/debian/dists", DEB, True),
        ("deb.example.com/debian/pool", DEB, False),
        ("HTTPS://deb.example.com", DEB, False),
        ("DEB.example.com", DEB, False),
        ("[::1", DEB, False),
        ("https://[", DEB, False),
        ("https://", DEB, False),
    ],
)
def test_an_entry_is_for_what_apt_sends_it_to(
    config: AptConfig, machine: str, root: str, sent: bool
) -> None:
    config.netrc.write_text(f"machine {machine}{ENTRY}")
    assert _find(config, root) == (("robot", "hush") if sent else None)


@pytest.mark.parametrize(
    ("text", "login"),
    [
        ("# machine deb.example.com login x password y\nmachine deb.example.com" + ENTRY, "robot"),
        ("machine deb.example.com\n    login robot\n# login x\n    password hush\n", "robot"),
        ("machine [::1" + ENTRY + "machine deb.example.com login x password hush\n", "x"),
        ("machine deb.example.com login machine password hush\n", "machine"),
        ("machine other login machine password x machine deb.example.com" + ENTRY, "robot"),
        ("machine deb.example.com account x login y password hush\n", "y"),
        ("machine deb.example.com login x login y password hush\n", "y"),
        ("machine deb.example.com password hush\nmachine deb.example.com" + ENTRY, ""),
        ("machine deb.example.com\nmachine deb.example.com" + ENTRY, None),
        ("machine", None),
        ("machine deb.example.com login", None),
    ],
)
@pytest.mark.parametrize("part", [False, True])
def test_the_first_entry_that_fits_counts(
    config: AptConfig, text: str, login: str | None, part: bool
) -> None:
    assert _find(config, DEB) is None
    config.netrc_parts.mkdir()
    place = config.netrc_parts / "team.conf" if part else config.netrc
    place.write_text(text)
    (config.netrc_parts / "old.conf.bak").write_text(f"machine deb.example.com{ENTRY}")
    assert _find(config, DEB) == (None if login is None else (login, "hush"))
    if login is not None:
        assert find_login(f"{DEB}/x", config).place == str(place)


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
    (folder / "team.conf").write_text(f"machine [::1 {entry} wrong\n")
    with pytest.raises(LockError) as caught:
        lock()
    assert "401" in caught.value.message
    where = f"`{folder / 'team.conf'}`"
    assert f"asked with the login that {where} has for `127.0.0.1`" in caught.value.message
    assert caught.value.hint == f"to mend it, correct the entry for `127.0.0.1` in {where}"
    assert "wrong" not in str(caught.value)
    # An entry may be for a part of an archive: packages are refused then, in the same words.
    (folder / "team.conf").write_text(
        f"machine http://{host}/dists login robot password hush@:/%\n{entry} wrong\n"
    )
    with pytest.raises(EnvbuildError) as refused:
        lock()
    assert refused.value.code == "fetch.unauthorised"
    assert f"the login that {where} has" in refused.value.message
    (folder / "team.conf").write_text(f"{entry} hush@:/%\n")
    assert "hush" not in lock()
