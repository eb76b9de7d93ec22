"""apt's own configuration is understood as apt understands it."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuild.errors import LockError
from envbuild.lock.apt_sources import AptConfig, ArchiveSource, find_apt_config, find_apt_sources
from envbuild.lock.archive import find_archives
from envbuild.spec.settings import Settings
from tests.rig.debian_archive import DebianRig

MIRROR = "http://mirror.example.com/debian"


def _read(folder: Path, text: str, name: str = "a.sources") -> tuple[ArchiveSource, ...]:
    parts = folder / "sources.list.d"
    parts.mkdir(exist_ok=True)
    (parts / name).write_text(text)
    return find_apt_sources(AptConfig(sources=folder / "sources.list", parts=parts))


def _places(sources: tuple[ArchiveSource, ...]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(source.root, source.suite, source.components) for source in sources]


def test_the_one_line_style_is_read(tmp_path: Path) -> None:
    text = f"""\
# deb {MIRROR} sid main
deb {MIRROR}/ bookworm main contrib  # the usual
deb-src {MIRROR} bookworm main
deb [ arch=amd64,arm64 signed-by=/etc/keys/a.gpg,/etc/keys/b.asc ] {MIRROR} bookworm-updates main
deb [check-valid-until=no] {MIRROR} trixie main
deb {MIRROR}/flat ./
deb cdrom:[Debian]/ bookworm main
"""
    sources = _read(tmp_path, text, "a.list")
    assert _places(sources) == [
        (MIRROR, "bookworm", ("main", "contrib")),
        (MIRROR, "bookworm-updates", ("main",)),
        (MIRROR, "trixie", ("main",)),
    ]
    assert sources[1].keyrings == (Path("/etc/keys/a.gpg"), Path("/etc/keys/b.asc"))
    assert [source.must_be_fresh for source in sources] == [True, True, False]


def test_deb822_is_read(tmp_path: Path) -> None:
    text = f"""\
Types: deb deb-src
# a comment inside
URIs: {MIRROR} https://other.example.com/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/a.gpg

Enabled: no
Types: deb
URIs: {MIRROR}
Suites: trixie
Components: main
"""
    sources = _read(tmp_path, text)
    assert _places(sources) == [
        (root, suite, ("main",))
        for root in (MIRROR, "https://other.example.com/debian")
        for suite in ("bookworm", "bookworm-updates")
    ]
    assert {source.keyrings for source in sources} == {(Path("/usr/share/keyrings/a.gpg"),)}


def test_keys_and_fingerprints_in_a_source_are_read(tmp_path: Path) -> None:
    text = f"""\
Types: deb
URIs: {MIRROR}
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEAAAA
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: {MIRROR}
Suites: trixie
Components: main
Signed-By: 0123456789abcdef0123456789abcdef01234567!
"""
    inline, named = _read(tmp_path, text)
    assert inline.inline_key.splitlines()[1:3] == ["", "mDMEAAAA"]
    assert named.fingerprints == {"0123456789ABCDEF0123456789ABCDEF01234567"}


def test_a_mirror_list_stands_for_its_mirrors(tmp_path: Path) -> None:
    listing = tmp_path / "mirrors"
    listing.write_text(f"# two\n{MIRROR}\tpriority:1\nhttps://b.example.com/debian/\n")
    sources = _read(tmp_path, f"deb mirror+file:{listing} bookworm main\n", "a.list")
    assert [source.root for source in sources] == [MIRROR, "https://b.example.com/debian"]


def test_components_of_one_suite_are_joined_and_extra_repositories_left_out(tmp_path: Path) -> None:
    text = f"""\
deb {MIRROR} bookworm non-free
deb https://vendor.example.com/linux bookworm stable
deb {MIRROR} bookworm main non-free
"""
    assert _places(_read(tmp_path, text, "a.list")) == [(MIRROR, "bookworm", ("non-free", "main"))]


def test_no_configuration_is_no_source(tmp_path: Path) -> None:
    assert find_apt_sources(AptConfig(sources=tmp_path / "a", parts=tmp_path / "b")) == ()


def test_apt_is_asked_where_its_configuration_is(debian_archive: DebianRig) -> None:
    config = find_apt_config()
    assert config.parts == debian_archive.etc / "sources.list.d"
    assert config.checks_dates


def test_the_suite_its_updates_and_its_security_fixes_are_found(debian_archive: DebianRig) -> None:
    debian_archive.configure_suites("trixie", "bookworm", "bookworm-security", "bookworm-updates")
    found = [source.suite for source in find_archives(Settings(), "bookworm")]
    assert found == ["bookworm", "bookworm-security", "bookworm-updates"]


def test_archives_are_asked_for_a_suite_that_apt_does_not_name(debian_archive: DebianRig) -> None:
    found = find_archives(Settings(), "trixie")
    assert [source.suite for source in found] == ["trixie", "trixie-updates", "trixie-security"]
    assert {source.root for source in found} == {debian_archive.url}
    assert all(source.optional for source in found)


def test_a_machine_without_archives_says_what_to_write(debian_archive: DebianRig) -> None:
    debian_archive.configure("")
    with pytest.raises(LockError) as caught:
        find_archives(Settings(), "trixie")
    assert caught.value.code == "lock.no-archive"
    assert "`trixie`" in caught.value.message
    assert "debian-archives = [" in (caught.value.hint or "")


def test_archives_of_the_settings_are_asked_for_all_three(debian_archive: DebianRig) -> None:
    settings = Settings(debian_archives=(f"{debian_archive.url}/", f"{MIRROR}-security"))
    found = find_archives(settings, "bookworm")
    assert [(source.root, source.suite) for source in found] == [
        (root, suite)
        for root in (debian_archive.url, f"{MIRROR}-security")
        for suite in ("bookworm", "bookworm-updates", "bookworm-security")
    ]
    assert all(source.optional for source in found)
    # apt knows the first one, and so whose signature it needs.
    assert found[0].keyrings == (debian_archive.key.public,)
    assert found[3].keyrings == ()
