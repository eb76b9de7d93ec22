"""A lock is put together from what moved and what stays, and leaves nothing behind."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from envbuild.errors import LockError
from envbuild.kit.canonical import digest_bytes
from envbuild.kit.places import Cache
from envbuild.lock.debian import BASE_PACKAGES
from envbuild.lock.make import make_lock
from envbuild.lock.make_job import Made, requirements_file
from envbuild.lock.model import PlatformLock
from envbuild.lock.request import digest_request
from envbuild.lock.sharing import Sharing
from envbuild.lock.upgrade import Upgrade
from envbuild.spec.model import EnvSpec, Image, Pip
from envbuild.spec.settings import Settings
from tests.rig.conda_solver import Notes
from tests.rig.debian_archive import DebianRig
from tests.rig.locks import wheel

SPEC = EnvSpec(python="3.11.*", image=Image(base="debian:bookworm"))
FILE = requirements_file("linux-64")


@pytest.fixture
def archive(debian_archive: DebianRig) -> DebianRig:
    """An archive that has all of `debian:bookworm`, and its Python."""
    for name in BASE_PACKAGES:
        debian_archive.add(name, version="2.36-9" if name == "libc6" else "1.0-1")
    debian_archive.add("python3.11", version="3.11.2-6")
    debian_archive.publish()
    return debian_archive


def _lock(
    cache: Cache,
    root: Path,
    *,
    spec: EnvSpec = SPEC,
    old: Made | None = None,
    upgrade: Upgrade | None = None,
    notes: Notes | None = None,
) -> Made:
    return make_lock(
        "cpu", spec, old=old, upgrade=upgrade or Upgrade(), settings=Settings(), cache=cache,
        progress=notes or Notes(), root=root, sharing=Sharing(),
    )  # fmt: skip


def _part(made: Made) -> PlatformLock:
    return made.lock.platforms["linux-64"]


def _with_wheels(made: Made, spec: EnvSpec) -> Made:
    """Return the lock as it would be for `spec`, which also asks for a wheel."""
    part = replace(_part(made), wheels=(wheel("httpx", "0.27.0"),))
    text = b"httpx==0.27.0\n"
    lock = replace(
        made.lock,
        request=digest_request(spec),
        platforms={"linux-64": part},
        files={FILE: digest_bytes(text)},
    )
    return Made(lock=lock, files={FILE: text})


def test_the_packages_of_debian_alone_move(
    archive: DebianRig, cache: Cache, tmp_path: Path
) -> None:
    spec = replace(SPEC, pip=Pip(dependencies=("httpx",)))
    old = _with_wheels(_lock(cache, tmp_path), spec)
    archive.add("libc6", version="2.41-1")
    archive.add("python3.11", version="3.11.9-1")
    archive.publish()
    later = Cache(root=tmp_path / "later")
    assert _lock(later, tmp_path, spec=spec, old=old).lock == old.lock
    made = _lock(later, tmp_path, spec=spec, old=old, upgrade=Upgrade(base=True))
    versions = {package.name: package.version for package in _part(made).debian}
    assert (versions["libc6"], versions["python3.11"]) == ("2.41-1", "3.11.9-1")
    assert _part(made).python == "3.11.9"
    assert (_part(made).wheels, _part(made).glibc) == (_part(old).wheels, "2.36")
    assert made.files == old.files
    # and what came of it is up to date as it is
    assert _lock(later, tmp_path, spec=spec, old=made, upgrade=Upgrade(base=True)).lock == made.lock


def test_an_index_is_called_as_apt_calls_it(
    archive: DebianRig, cache: Cache, tmp_path: Path
) -> None:
    notes = Notes()
    _lock(cache, tmp_path, notes=notes)
    assert "cpu: downloading bookworm/main amd64 Packages" in notes.doings


def test_nothing_is_left_behind(archive: DebianRig, cache: Cache, tmp_path: Path) -> None:
    _lock(cache, tmp_path)
    assert list((cache.root / "locking").iterdir()) == []
    with pytest.raises(LockError):
        _lock(cache, tmp_path, spec=replace(SPEC, image=Image(base="debian:nosuch")))
    assert list((cache.root / "locking").iterdir()) == []


def test_what_a_killed_lock_left_is_cleared_away(
    archive: DebianRig, cache: Cache, tmp_path: Path
) -> None:
    killed, young = (cache.root / "locking" / f".lock.{name}.part" for name in ("old", "young"))
    for folder in (killed, young):
        (folder / "conda").mkdir(parents=True)
    yesterday = time.time() - 2 * 86400
    os.utime(killed, (yesterday, yesterday))
    _lock(cache, tmp_path)
    assert not killed.exists()
    assert young.exists(), "another process may still be at work in it"
