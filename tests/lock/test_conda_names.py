"""Which Python distributions conda packages install."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from envbuild.errors import LockError
from envbuild.kit.places import Cache
from envbuild.lock.conda_names import _find_distributions, find_python_names
from envbuild.lock.model import CondaPackage
from envbuild.spec.settings import Settings
from tests.rig.conda_channel import CondaChannel, open_channel
from tests.rig.conda_contents import FOREIGN
from tests.rig.conda_solver import Solver

WISHES = ("numpy", "typing_extensions", "two-faced", "egg-style", "greet", "old-format")


@pytest.fixture(scope="module")
def solved(
    conda_channel: CondaChannel, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[CondaPackage, ...]]:
    folder = tmp_path_factory.mktemp("names")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENVBUILD_CACHE", str(folder / "cache"))
        solver = Solver.on(conda_channel, folder)
        return dict(solver.lock(*WISHES, platforms=("linux-64", FOREIGN[0])).packages)


def _expected(packages: tuple[CondaPackage, ...]) -> dict[str, str]:
    found = {p.name: p.version for p in packages}
    return {
        "egg-style": "1.0",
        "greet": "2.0",
        "greeting-words": "1.2",
        "numpy": found["numpy"],
        "other-name": "3.1.post1",
        "typing-extensions": found["typing_extensions"],
    }


@pytest.mark.parametrize("platform", ["linux-64", FOREIGN[0]])
def test_names_are_pypis_and_vendored_copies_are_none(
    solved: dict[str, tuple[CondaPackage, ...]],
    conda_channel: CondaChannel,
    cache: Cache,
    platform: str,
) -> None:
    before = len(conda_channel.server.requests)
    names = find_python_names(
        solved[platform],
        settings=Settings(mirrors=conda_channel.mirrors),
        cache=cache,
        logs=cache.logs,
    )
    assert names == _expected(solved[platform])
    asked = conda_channel.server.requests[before:]
    # A `.conda` is read by a range; only the one `.tar.bz2` has to come as a whole.
    whole = [r for r in asked if r.startswith("GET") and r.endswith(" 200")]
    assert all("old-format" in request for request in whole)
    assert any(request.endswith(" 206") for request in asked)


def test_the_answer_is_remembered(
    solved: dict[str, tuple[CondaPackage, ...]], conda_channel: CondaChannel, cache: Cache
) -> None:
    settings = Settings(mirrors=conda_channel.mirrors)
    first = find_python_names(solved["linux-64"], settings=settings, cache=cache, logs=cache.logs)
    before = len(conda_channel.server.requests)
    again = find_python_names(solved["linux-64"], settings=Settings(), cache=cache, logs=cache.logs)
    assert again == first
    assert conda_channel.server.requests[before:] == []


def test_archives_in_the_cache_need_no_channel(
    solved: dict[str, tuple[CondaPackage, ...]], conda_channel: CondaChannel, cache: Cache
) -> None:
    for package in solved["linux-64"]:
        target = cache.packages / package.sha256 / package.filename
        target.parent.mkdir(parents=True)
        archive = conda_channel.folder / package.url.removeprefix(conda_channel.canonical)
        shutil.copyfile(archive, target)
    before = len(conda_channel.server.requests)
    names = find_python_names(solved["linux-64"], settings=Settings(), cache=cache, logs=cache.logs)
    assert names == _expected(solved["linux-64"])
    assert conda_channel.server.requests[before:] == []


def test_a_folder_is_a_channel(
    solved: dict[str, tuple[CondaPackage, ...]], conda_channel: CondaChannel, cache: Cache
) -> None:
    here = conda_channel.folder.as_uri() + "/"
    local = [
        replace(p, url=p.url.replace(conda_channel.canonical, here)) for p in solved["linux-64"]
    ]
    names = find_python_names(local, settings=Settings(), cache=cache, logs=cache.logs)
    assert names == _expected(solved["linux-64"])


def test_a_package_that_is_gone_is_an_error(
    solved: dict[str, tuple[CondaPackage, ...]],
    conda_channel: CondaChannel,
    cache: Cache,
    tmp_path: Path,
) -> None:
    with open_channel(conda_channel.folder, tmp_path / "copy" / "main") as channel:
        channel.find("greet-2.0-").unlink()
        with pytest.raises(LockError, match=r"greet-2\.0-.*404") as caught:
            find_python_names(
                solved["linux-64"],
                settings=Settings(mirrors=channel.mirrors),
                cache=cache,
                logs=cache.logs,
            )
    assert caught.value.code == "lock.package-unreadable"
    assert not (cache.root / "conda-names").exists()


names = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9_.]{0,8}[A-Za-z0-9])?", fullmatch=True)
release = st.lists(st.integers(0, 99), min_size=1, max_size=3).map(lambda n: ".".join(map(str, n)))


@given(name=names, version=release, suffix=st.sampled_from(["dist-info", "egg-info"]))
def test_any_installed_folder_is_read(name: str, version: str, suffix: str) -> None:
    for folder in ("site-packages", "lib/python3.11/site-packages", "Lib/site-packages"):
        path = f"{folder}/{name}-{version}.{suffix}/METADATA"
        assert _find_distributions({"paths": [path]}) == {
            canonicalize_name(name): str(version)
        } | _as_packaging_says(name, version)


def _as_packaging_says(name: str, version: str) -> dict[str, str]:
    from packaging.version import Version

    return {canonicalize_name(name): str(Version(version))}


@pytest.mark.parametrize(
    "path",
    [
        "site-packages/setuptools/_vendor/packaging-24.2.dist-info/METADATA",
        "share/doc/site-packages/a-1.dist-info/METADATA",
        "site-packages/a.py",
        "lib/python3.11/lib-dynload/a-1.so",
    ],
)
def test_other_paths_are_no_distribution(path: str) -> None:
    assert _find_distributions({"paths": [path]}) == {}


def test_a_version_that_nobody_knows_is_kept_as_it_is() -> None:
    paths = ["site-packages/odd-hand_made.dist-info/METADATA"]
    assert _find_distributions({"paths": paths}) == {"odd": "hand_made"}
