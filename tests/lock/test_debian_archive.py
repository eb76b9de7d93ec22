"""Only what a trusted key signed is locked, and nothing is downloaded that is known already."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from envbuild.errors import EnvbuildError, LockError, ToolError
from envbuild.kit.places import Cache
from envbuild.lock.debian import fetch_debian, resolve_debian
from envbuild.lock.model import DebianPackage
from envbuild.spec.settings import Settings
from tests.rig.debian_archive import DebianRig, make_key


def _lock(
    cache: Cache,
    names: Sequence[str] = ("hello",),
    *,
    architecture: str = "amd64",
    settings: Settings | None = None,
) -> tuple[DebianPackage, ...]:
    return resolve_debian(
        names,
        suite="bookworm",
        architecture=architecture,
        settings=settings or Settings(),
        cache=cache,
        task="cpu",
    )


def _refuse(cache: Cache, *, settings: Settings | None = None, architecture: str = "amd64") -> str:
    with pytest.raises(LockError) as caught:
        _lock(cache, settings=settings, architecture=architecture)
    indexes = cache.indexes / "packages"
    assert not indexes.is_dir() or not any(indexes.iterdir()), "something unverified was kept"
    return str(caught.value)


def _later(cache: Cache, tmp_path: Path) -> Cache:
    """Return a copy of `cache`, as a process has it that begins some time later."""
    copy = Cache(root=tmp_path / f"later-{len(list(tmp_path.iterdir()))}")
    shutil.copytree(cache.root, copy.root)
    return copy


@pytest.fixture
def archive(debian_archive: DebianRig) -> DebianRig:
    debian_archive.add("hello", depends="libgreet (>= 1.0)")
    debian_archive.add("libgreet", version="1.2-1")
    debian_archive.publish()
    return debian_archive


def test_packages_are_locked_and_fetched(archive: DebianRig, cache: Cache) -> None:
    found = _lock(cache)
    assert [(p.name, p.version) for p in found] == [("hello", "1.0-1"), ("libgreet", "1.2-1")]
    for package in found:
        file = fetch_debian(package, suite="bookworm", settings=Settings(), cache=cache)
        assert file == cache.packages / package.sha256 / package.filename
        assert file.read_bytes() == (archive.folder / package.path).read_bytes()


def test_nothing_but_the_release_is_asked_for_again(
    archive: DebianRig, cache: Cache, tmp_path: Path
) -> None:
    first = _lock(cache)
    assert len(archive.downloads) == 1
    assert _lock(_later(cache, tmp_path)) == first
    assert len(archive.downloads) == 1
    assert archive.server.requests[-1] == "GET /dists/bookworm/InRelease 304"


def test_a_server_without_validators_costs_no_more_than_the_release(
    archive: DebianRig, cache: Cache, tmp_path: Path
) -> None:
    _lock(cache)
    later = _later(cache, tmp_path)
    for facts in (later.indexes / "releases").glob("*.json"):
        facts.unlink()
    _lock(later)
    assert archive.server.requests[-1] == "GET /dists/bookworm/InRelease 200"
    assert len(archive.downloads) == 1


def test_many_environments_look_once(archive: DebianRig, cache: Cache) -> None:
    for _ in range(3):
        _lock(cache)
    assert len(archive.server.requests) == 2


def test_a_new_release_is_noticed(archive: DebianRig, cache: Cache, tmp_path: Path) -> None:
    _lock(cache)
    archive.add("hello", version="1.1-1")
    archive.publish()
    (package,) = _lock(_later(cache, tmp_path))
    assert package.version == "1.1-1"


def test_a_damaged_index_in_the_cache_is_replaced(archive: DebianRig, cache: Cache) -> None:
    first = _lock(cache)
    for index in (cache.indexes / "packages").iterdir():
        index.write_bytes(b"Package: evil\n")
    assert _lock(cache) == first


def test_updates_and_security_fixes_win(archive: DebianRig, cache: Cache) -> None:
    archive.add("libgreet", version="1.2-1+deb12u1", suite="bookworm-security")
    archive.publish(suite="bookworm-security")
    archive.configure_suites("bookworm", "bookworm-security")
    assert [p.version for p in _lock(cache)] == ["1.0-1", "1.2-1+deb12u1"]


def test_a_foreign_architecture_is_locked_alike(archive: DebianRig, cache: Cache) -> None:
    archive.add("hello", version="1.0-1+b1", architecture="arm64")
    archive.add("data", architecture="all")
    archive.publish()
    found = _lock(cache, ["hello", "data"], architecture="arm64")
    assert [(p.name, p.architecture) for p in found] == [("data", "all"), ("hello", "arm64")]


def test_packages_for_all_architectures_may_have_an_index_of_their_own(
    archive: DebianRig, cache: Cache
) -> None:
    archive.packages["bookworm/main/all"] = [archive.add("data", architecture="all")]
    for machine in ("amd64", "arm64"):
        stanzas = archive.packages[f"bookworm/main/{machine}"]
        stanzas[:] = [s for s in stanzas if s["Architecture"] != "all"]
    archive.publish(No_Support_for_Architecture_all="")
    assert [p.architecture for p in _lock(cache, ["data"])] == ["all"]


def test_components_that_apt_names_are_used(archive: DebianRig, cache: Cache) -> None:
    archive.add("unfree", component="non-free")
    archive.publish()
    with pytest.raises(LockError, match="`unfree` is no package"):
        _lock(cache, ["unfree"])
    text = f"deb [signed-by={archive.key.public}] {archive.url} bookworm main non-free\n"
    archive.configure(text, name="test.list")
    assert [p.name for p in _lock(cache, ["unfree"])] == ["unfree"]


@pytest.mark.parametrize("suffixes", [(".gz",), (".xz",), ("",)])
@pytest.mark.parametrize("by_hash", [True, False])
def test_every_kind_of_index_is_read(
    archive: DebianRig, cache: Cache, suffixes: tuple[str, ...], by_hash: bool
) -> None:
    archive.publish(suffixes=suffixes, by_hash=by_hash)
    assert len(_lock(cache)) == 2
    assert len(archive.downloads) == 1
    assert ("/by-hash/" in archive.downloads[0]) == by_hash


def test_archives_of_the_settings_are_used_and_may_lack_updates(
    archive: DebianRig, cache: Cache
) -> None:
    settings = Settings(debian_archives=(archive.url,))
    assert len(_lock(cache, settings=settings)) == 2


def test_an_archive_may_be_a_folder(archive: DebianRig, cache: Cache) -> None:
    text = f"deb [signed-by={archive.key.public}] file:{archive.folder} bookworm main\n"
    archive.configure(text, name="test.list")
    (package, _) = _lock(cache)
    file = fetch_debian(package, suite="bookworm", settings=Settings(), cache=cache)
    assert file.read_bytes() == (archive.folder / package.path).read_bytes()
    assert archive.server.requests == []


def test_a_changed_release_is_refused(archive: DebianRig, cache: Cache) -> None:
    file = archive.folder / "dists/bookworm/InRelease"
    file.write_bytes(file.read_bytes().replace(b"Origin: Tests", b"Origin: Wrong"))
    text = _refuse(cache)
    assert "[lock.archive-signature]" in text
    assert "the text isn't what was signed" in text


@pytest.mark.parametrize("place", ["before", "after"])
def test_text_outside_the_signature_is_refused(
    archive: DebianRig, cache: Cache, place: str
) -> None:
    file = archive.folder / "dists/bookworm/InRelease"
    extra = b"Codename: bookworm\n"
    signed = file.read_bytes()
    file.write_bytes(extra + signed if place == "before" else signed + extra)
    assert "[lock.archive-signature]" in _refuse(cache)


def test_an_unsigned_release_is_refused(archive: DebianRig, cache: Cache) -> None:
    file = archive.folder / "dists/bookworm/InRelease"
    file.write_bytes(b"Suite: oldbookworm\nCodename: bookworm\n")
    assert "it is not one clear-signed text" in _refuse(cache)


def test_a_key_that_nobody_trusts_is_refused(
    archive: DebianRig, cache: Cache, gpg_home: Path
) -> None:
    stranger = make_key(gpg_home, "stranger")
    archive.publish(key=stranger)
    text = _refuse(cache)
    assert "[lock.archive-signature]" in text
    assert stranger.fingerprint[-16:] in text
    # Of several keys in one file, any may sign ...
    both = archive.etc / "both.gpg"
    both.write_bytes(archive.key.public.read_bytes() + stranger.public.read_bytes())
    source = f"{archive.url} bookworm main\n"
    archive.configure(f"deb [signed-by={both}] {source}", name="test.list")
    assert len(_lock(cache)) == 2
    # ... unless the source names one.
    (archive.etc / "trusted.gpg.d").mkdir()
    shutil.copy(both, archive.etc / "trusted.gpg.d/both.gpg")
    archive.configure(f"deb [signed-by={archive.key.fingerprint}] {source}", name="test.list")
    with pytest.raises(LockError, match="signed it, which the source does not name"):
        _lock(cache)
    archive.configure(f"deb [signed-by={stranger.fingerprint}] {source}", name="test.list")
    assert len(_lock(cache)) == 2


def test_an_expired_key_is_refused(archive: DebianRig, cache: Cache, gpg_home: Path) -> None:
    old = make_key(gpg_home, "expired", moment="20200101T000000", expires="1y")
    archive.publish(key=old)
    archive.configure(f"deb [signed-by={old.public}] {archive.url} bookworm main\n", name="a.list")
    assert "the key that signed it has expired" in _refuse(cache)


@pytest.mark.parametrize("how", ["file", "folder", "inline"])
def test_armored_keys_are_understood(archive: DebianRig, cache: Cache, how: str) -> None:
    source = f"{archive.url} bookworm main\n"
    (archive.etc / "trusted.gpg.d").mkdir()
    if how == "file":
        (archive.etc / "key.asc").write_text(archive.key.armored)
        archive.configure(f"deb [signed-by={archive.etc}/key.asc] {source}", name="a.list")
    elif how == "folder":
        (archive.etc / "trusted.gpg.d/key.asc").write_text(archive.key.armored)
        archive.configure(f"deb {source}", name="a.list")
    else:
        lines = [f" {line or '.'}" for line in archive.key.armored.splitlines()]
        archive.configure(
            f"Types: deb\nURIs: {archive.url}\nSuites: bookworm\nComponents: main\n"
            "Signed-By:\n" + "\n".join(lines) + "\n"
        )
    assert len(_lock(cache)) == 2


def test_a_keyring_that_is_not_there_is_named(archive: DebianRig, cache: Cache) -> None:
    archive.configure(f"deb [signed-by=/no/such.gpg] {archive.url} bookworm main\n", name="a.list")
    text = _refuse(cache)
    assert "[lock.no-keyring]" in text
    assert "`/no/such.gpg`" in text


def test_without_gpgv_the_error_says_how_to_get_it(
    archive: DebianRig, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = shutil.which("apt-config")
    assert config
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/apt-config").symlink_to(config)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ToolError) as caught:
        _lock(cache)
    assert caught.value.code == "tool.missing"
    assert "apt-get install gpgv" in (caught.value.hint or "")


def test_an_index_that_the_release_does_not_list_is_refused(
    archive: DebianRig, cache: Cache
) -> None:
    for file in (archive.folder / "dists/bookworm").glob("main/*/by-hash/SHA256/*"):
        file.write_bytes(b"Package: evil\n")
    assert "[lock.archive-damaged]" in _refuse(cache)


def test_an_index_that_is_not_there_is_refused(archive: DebianRig, cache: Cache) -> None:
    shutil.rmtree(archive.folder / "dists/bookworm/main")
    assert "[lock.archive-damaged]" in _refuse(cache)


def test_the_release_of_another_suite_is_refused(archive: DebianRig, cache: Cache) -> None:
    archive.publish(Suite="stable", Codename="trixie")
    text = _refuse(cache)
    assert "[lock.archive-suite]" in text
    assert "signed for suite `trixie`, not for `bookworm`" in text


def test_a_suite_may_be_called_by_its_role(archive: DebianRig, cache: Cache) -> None:
    archive.publish(Suite="bookworm", Codename="codename")
    assert len(_lock(cache)) == 2


def test_a_suite_that_is_not_there_is_refused(archive: DebianRig, cache: Cache) -> None:
    shutil.rmtree(archive.folder / "dists/bookworm")
    text = _refuse(cache)
    assert f"the archive `{archive.url}` has no suite `bookworm`" in text
    text = _refuse(cache, settings=Settings(debian_archives=(archive.url,)))
    assert "[lock.archive-suite]" in text


def test_an_archive_that_lists_its_suites_is_quoted(archive: DebianRig, cache: Cache) -> None:
    shutil.move(archive.folder / "dists/bookworm", archive.folder / "dists/trixie")
    listing = '<a href="../">up</a> <a href="trixie/">trixie/</a> <a href="sid/">sid/</a>'
    pages = archive.folder / "dists"
    # The test server has no listings of its own; a file of that name stands in for one.
    shutil.move(pages, archive.folder / "old")
    pages.write_text(listing)
    assert "it has `sid`, `trixie`" in _refuse(cache)


def test_an_architecture_that_is_not_there_is_refused(archive: DebianRig, cache: Cache) -> None:
    text = _refuse(cache, architecture="riscv64")
    assert "[lock.archive-architecture]" in text
    settings = Settings(debian_archives=(archive.url,))
    assert "for `riscv64`" in _refuse(cache, architecture="riscv64", settings=settings)


def test_updates_may_lack_an_architecture(archive: DebianRig, cache: Cache) -> None:
    archive.add("hello", version="2", suite="bookworm-security", architecture="arm64")
    archive.publish(suite="bookworm-security")
    archive.configure_suites("bookworm", "bookworm-security")
    assert _lock(cache)[0].version == "1.0-1"


def test_an_index_that_is_out_of_date_is_refused_as_apt_would(
    archive: DebianRig, cache: Cache
) -> None:
    archive.publish(Valid_Until="Thu, 01 Jan 2026 00:00:00 UTC")
    assert "[lock.archive-expired]" in _refuse(cache)
    archive.configure_suites("bookworm", extra="Check-Valid-Until: no\n")
    assert len(_lock(cache)) == 2
    # Whoever names an archive may well mean a snapshot.
    assert len(_lock(cache, settings=Settings(debian_archives=(archive.url,)))) == 2


def test_an_archive_that_is_down_is_named(cache: Cache, archive: DebianRig) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    archive.configure(
        f"deb [signed-by={archive.key.public}] http://user:secret@127.0.0.1:{port} bookworm main\n",
        name="a.list",
    )
    text = _refuse(cache)
    assert "[lock.archive-down]" in text
    assert f"http://127.0.0.1:{port}/dists/bookworm/InRelease" in text
    assert "secret" not in text


def test_an_archive_that_refuses_is_named(cache: Cache, archive: DebianRig) -> None:
    archive.server.status = 403
    text = _refuse(cache)
    assert "[lock.archive-down]" in text
    assert "403" in text


def test_credentials_in_the_root_are_sent(archive: DebianRig, cache: Cache) -> None:
    archive.server.credentials = ("user", "s3cret")
    root = archive.url.replace("http://", "http://user:s3cret@")
    archive.configure(f"deb [signed-by={archive.key.public}] {root} bookworm main\n", name="a.list")
    (package, _) = _lock(cache)
    assert fetch_debian(package, suite="bookworm", settings=Settings(), cache=cache).is_file()
    kept = [f.read_text() for f in (cache.indexes / "releases").iterdir()]
    assert not any("s3cret" in text for text in kept)


def test_a_package_that_the_archive_dropped_is_an_error_that_says_what_to_do(
    archive: DebianRig, cache: Cache
) -> None:
    (package, _) = _lock(cache)
    (archive.folder / package.path).unlink()
    with pytest.raises(LockError) as caught:
        fetch_debian(package, suite="bookworm", settings=Settings(), cache=cache, task="cpu")
    assert caught.value.code == "lock.artifact-gone"
    assert "nox -s lock -- cpu --upgrade" in (caught.value.hint or "")


def test_a_package_in_the_cache_needs_no_archive(
    archive: DebianRig, cache: Cache, tmp_path: Path
) -> None:
    (package, _) = _lock(cache)
    file = fetch_debian(package, suite="bookworm", settings=Settings(), cache=cache)
    archive.configure("")
    again = fetch_debian(package, suite="bookworm", settings=Settings(), cache=cache)
    assert again == file


def test_a_package_with_another_hash_is_refused(archive: DebianRig, cache: Cache) -> None:
    (package, _) = _lock(cache)
    (archive.folder / package.path).write_bytes(b"something else")
    with pytest.raises(EnvbuildError) as caught:
        fetch_debian(package, suite="bookworm", settings=Settings(), cache=cache)
    assert caught.value.code == "fetch.hash-mismatch"
    assert not (cache.packages / package.sha256 / package.filename).exists()


def test_processes_may_lock_side_by_side(archive: DebianRig, cache: Cache) -> None:
    code = (
        "from envbuild.kit.places import find_cache\n"
        "from envbuild.lock.debian import resolve_debian\n"
        "from envbuild.spec.settings import Settings\n"
        "print(*[p.name for p in resolve_debian(['hello'], suite='bookworm', architecture='amd64',"
        " settings=Settings(), cache=find_cache())])\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ.copy()
        )
        for _ in range(3)
    ]
    assert [child.communicate()[0] for child in children] == ["hello libgreet\n"] * 3
    assert len(archive.downloads) == 1
