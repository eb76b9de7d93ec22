"""The real archive: what `debian:bookworm` with Python is, for both architectures."""

from __future__ import annotations

import pytest

from envbuild.errors import LockError
from envbuild.kit.places import Cache
from envbuild.lock.debian import BASE_PACKAGES, ONLY_FOR_SCRIPTS, resolve_debian
from envbuild.lock.model import DebianPackage
from envbuild.spec.settings import Settings
from tests.rig.debian_archive import resolve_real

pytestmark = pytest.mark.network


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_the_base_and_python_are_locked(architecture: str, cache: Cache) -> None:
    packages = resolve_real([*BASE_PACKAGES, "python3.11"], architecture, cache)
    names = {package.name for package in packages}
    assert {*BASE_PACKAGES, "libpython3.11-stdlib", "libssl3", "libsqlite3-0", "mawk"} <= names
    assert not names & {*ONLY_FOR_SCRIPTS, "openssl", "perl-base", "systemd", "tar"}
    assert {package.architecture for package in packages} <= {architecture, "all"}
    # A base that grows beyond this has pulled in something that nobody meant.
    assert len(packages) < 60
    assert sum(package.size for package in packages) < 30_000_000


def test_both_architectures_have_the_same_packages(cache: Cache) -> None:
    def names(packages: tuple[DebianPackage, ...]) -> list[str]:
        return [package.name for package in packages]

    one, two = (resolve_real(BASE_PACKAGES, a, cache) for a in ("amd64", "arm64"))
    assert names(one) == names(two)


def test_a_python_that_the_suite_lacks_is_told_which_one_it_has(cache: Cache) -> None:
    resolve_real(["dash"], "amd64", cache)  # the archive is there
    with pytest.raises(LockError) as caught:
        resolve_debian(
            ["python3.12"], suite="bookworm", architecture="amd64", settings=Settings(), cache=cache
        )
    assert caught.value.code == "lock.debian-unknown"
    assert "has `python3.11` only" in (caught.value.hint or "")
