"""Every conda package in a lock has its archive's size, wherever that has to be asked for."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from envbuild.errors import LockError
from envbuild.kit.places import Cache
from envbuild.kit.progress import Silent
from envbuild.kit.urls import strip_credentials
from envbuild.lock.conda import CondaSolution
from envbuild.lock.conda_client import mirror_environment
from envbuild.lock.conda_file import CondaEntry
from envbuild.lock.conda_sizes import size_packages
from envbuild.lock.model import CondaPackage
from envbuild.spec.settings import Settings
from tests.rig.conda_channel import CondaChannel, damage_package, open_channel
from tests.rig.conda_solver import Solver, write_own_conda

PLATFORMS = ("linux-64", "linux-aarch64")


@pytest.fixture
def channel(conda_channel: CondaChannel, tmp_path: Path) -> Iterator[CondaChannel]:
    """A channel of the test's own, whose server counts only this test's requests."""
    with open_channel(conda_channel.folder, tmp_path / "copy" / "main") as copy:
        yield copy


@pytest.fixture
def solver(channel: CondaChannel, cache: Cache, tmp_path: Path) -> Solver:
    return Solver.on(channel, tmp_path / "solver")


@pytest.fixture
def own(
    solver: Solver, channel: CondaChannel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Solver:
    """Locks with a user's conda, which tells no size."""
    for name, value in mirror_environment(channel.mirrors).items():
        monkeypatch.setenv(name, value)
    return solver.with_conda(write_own_conda(tmp_path / "my-conda"))


def _sizes(solution: CondaSolution) -> dict[str, int]:
    """Return what was locked, by the place below the channel's root."""
    packages = [p for packages in solution.packages.values() for p in packages]
    return {"/".join(p.url.split("/")[-2:]): p.size for p in packages}


def _measured(solution: CondaSolution, channel: CondaChannel) -> dict[str, int]:
    return {place: (channel.folder / place).stat().st_size for place in _sizes(solution)}


def _asked(channel: CondaChannel, method: str) -> list[str]:
    archives = (".conda", ".tar.bz2")
    lines = [request.split() for request in channel.server.requests]
    return [path for kind, path, _ in lines if kind == method and path.endswith(archives)]


def test_sizes_come_with_the_solution(solver: Solver, channel: CondaChannel) -> None:
    solution = solver.lock("greet", "old-format", platforms=PLATFORMS)
    assert _sizes(solution) == _measured(solution, channel)
    assert not _asked(channel, "HEAD")
    assert not _asked(channel, "GET")


def test_a_channel_is_asked_where_the_solver_told_nothing(
    own: Solver, channel: CondaChannel
) -> None:
    solution = own.lock("greet")
    assert _sizes(solution) == _measured(solution, channel)
    assert len(_asked(channel, "HEAD")) == len(_sizes(solution))


def test_what_the_last_lock_knew_is_not_asked_for(solver: Solver, channel: CondaChannel) -> None:
    (entry,) = _entries(solver.lock("mdurl"), "mdurl")
    channel.server.status = 500
    (package,) = _ask(entry, solver.settings, solver.cache, known={entry.sha256: 12345})
    assert package.size == 12345


def test_an_archive_in_the_cache_is_measured_there(solver: Solver, channel: CondaChannel) -> None:
    (entry,) = _entries(solver.lock("mdurl"), "mdurl")
    file = solver.cache.packages / entry.sha256 / entry.filename
    file.parent.mkdir(parents=True)
    os.link(channel.find("mdurl-"), file)
    channel.server.status = 500
    (package,) = _ask(entry, solver.settings, solver.cache)
    assert package.size == file.stat().st_size


def test_a_server_without_head_costs_a_download(solver: Solver, channel: CondaChannel) -> None:
    (entry,) = _entries(solver.lock("mdurl"), "mdurl")
    channel.server.heads = False
    (package,) = _ask(entry, solver.settings, solver.cache)
    assert package.size == channel.find("mdurl-").stat().st_size
    assert (solver.cache.packages / entry.sha256 / entry.filename).is_file()


def test_a_download_that_is_another_archive_is_refused(
    solver: Solver, channel: CondaChannel
) -> None:
    (entry,) = _entries(solver.lock("mdurl"), "mdurl")
    channel.server.heads = False
    damage_package(channel.find("mdurl-"))
    with pytest.raises(LockError) as caught:
        _ask(entry, solver.settings, solver.cache)
    assert caught.value.code == "lock.hash-mismatch"


def test_a_folder_is_a_channel(channel: CondaChannel, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    archive = channel.find("mdurl-")
    os.link(archive, folder / archive.name)
    (entry,) = _entry(archive.name, url=(folder / archive.name).as_uri())
    (package,) = _ask(entry, Settings(), Cache(root=tmp_path / "none"))
    assert package.size == archive.stat().st_size


def test_a_private_channel_is_asked_with_its_login(
    channel: CondaChannel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHANNEL_PASSWORD", "lovelace")
    channel.server.credentials = ("ada", "lovelace")
    archive = channel.find("mdurl-")
    place = f"//ada:${{CHANNEL_PASSWORD}}@{urlsplit(channel.url).netloc}"
    url = f"{channel.url}/{archive.parent.name}/{archive.name}".replace(
        f"//{urlsplit(channel.url).netloc}", place
    )
    (entry,) = _entry(archive.name, url=url)
    (package,) = _ask(entry, Settings(), Cache(root=tmp_path / "none"))
    assert package.size == archive.stat().st_size
    assert "lovelace" not in strip_credentials(package.url)


def test_an_index_without_sizes_is_no_obstacle(solver: Solver, channel: CondaChannel) -> None:
    """Old channels have none in their index."""
    for index in channel.folder.glob("*/*"):
        if index.name == "repodata.json":
            table = json.loads(index.read_bytes())
            for kind in ("packages", "packages.conda"):
                for record in table.get(kind, {}).values():
                    record.pop("size", None)
            index.unlink()
            index.write_text(json.dumps(table))
        elif index.name.startswith("repodata") or index.suffix == ".zst":
            index.unlink()
    for shards in channel.folder.glob("*/shards"):
        for shard in shards.iterdir():
            shard.unlink()
    solution = solver.lock("greet")
    assert _sizes(solution) == _measured(solution, channel)
    assert len(_asked(channel, "HEAD")) == len(_sizes(solution))


def _entry(filename: str, url: str) -> list[CondaEntry]:
    found = re.fullmatch(r"(.+)-([^-]+)-([^-]+?)\.(?:conda|tar\.bz2)", filename)
    assert found
    name, version, build = found.groups()
    return [CondaEntry(name=name, version=version, build=build, url=url, sha256="a" * 64)]


def _entries(solution: CondaSolution, name: str) -> list[CondaEntry]:
    return [
        CondaEntry(name=p.name, version=p.version, build=p.build, url=p.url, sha256=p.sha256)
        for p in solution.packages["linux-64"]
        if p.name == name
    ]


def _ask(
    entry: CondaEntry, settings: Settings, cache: Cache, known: dict[str, int] | None = None
) -> tuple[CondaPackage, ...]:
    return size_packages(
        {"linux-64": (entry,)}, known=known or {}, settings=settings, cache=cache,
        progress=Silent(), task="cpu",
    )["linux-64"]  # fmt: skip
