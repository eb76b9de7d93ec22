"""Locking conda packages with envbuild's own solver, on a real channel."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from envbuild.errors import LockError
from envbuild.kit.places import Cache
from envbuild.lock.conda_file import parse_conda_lock
from envbuild.lock.upgrade import Upgrade
from envbuild.spec.load import load_curated
from envbuild.spec.model import VirtualPackages
from envbuild.spec.settings import Settings
from tests.rig.conda_channel import CondaChannel, index_channel, open_channel
from tests.rig.conda_contents import PLATFORMS
from tests.rig.conda_python import VERSION
from tests.rig.conda_server import serve_folder
from tests.rig.conda_solver import Solver, versions


@pytest.fixture
def solver(conda_channel: CondaChannel, cache: Cache, tmp_path: Path) -> Solver:
    return Solver.on(conda_channel, tmp_path / "solver")


def test_one_lock_holds_every_platform(solver: Solver, conda_channel: CondaChannel) -> None:
    solution = solver.lock("numpy", "greet <2", platforms=PLATFORMS)
    assert tuple(solution.packages) == PLATFORMS
    for platform, packages in solution.packages.items():
        found = {p.name: p for p in packages}
        assert list(found) == ["greet", "greeting-words", "numpy", "python"]
        assert found["greet"].version == "1.1"
        assert found["python"].version == VERSION
        assert found["python"].build == "h1a2b3c4_0_cpython"
        assert f"/{platform}/" in found["numpy"].url
        assert len({p.sha256 for p in packages}) == len(packages)
    assert solver.progress.doings == [f"cpu: solving conda packages for {', '.join(PLATFORMS)}"]
    assert set(solution.tools) == {"conda-lock", "py-rattler"}
    assert all(version[0].isdigit() for version in solution.tools.values())


def test_package_of_one_platform_is_locked_for_that_one(solver: Solver) -> None:
    solution = solver.lock(
        "greet", platforms=("linux-64", "linux-aarch64", "osx-arm64"),
        single={"linux-aarch64": ("mdurl >=0",), "osx-arm64": ("numpy",)},
    )  # fmt: skip
    plain = versions(solution.packages["linux-64"])
    assert set(versions(solution.packages["linux-aarch64"])) == {*plain, "mdurl"}
    assert set(versions(solution.packages["osx-arm64"])) == {*plain, "numpy"}


def test_curated_gpu_environment_declares_the_driver_that_cuda_needs(
    solver: Solver, tmp_path: Path
) -> None:
    conda = load_curated("envbuild-gpu-training", root=tmp_path).conda
    assert conda is not None
    solution = solver.lock("needs-cuda", machine=conda.virtual_packages)
    assert versions(solution.packages["linux-64"]) == {"needs-cuda": "1.0"}


def test_hashes_are_those_of_the_archives(solver: Solver, conda_channel: CondaChannel) -> None:
    for package in solver.lock("greet", "old-format").packages["linux-64"]:
        archive = conda_channel.folder / package.url.removeprefix(conda_channel.canonical)
        data = archive.read_bytes()
        assert package.sha256 == hashlib.sha256(data).hexdigest()


def test_urls_stay_canonical_behind_a_mirror(solver: Solver, conda_channel: CondaChannel) -> None:
    before = len(conda_channel.server.requests)
    solution = solver.lock("greet")
    assert all(p.url.startswith(conda_channel.canonical) for p in solution.packages["linux-64"])
    assert conda_channel.url.encode() not in solution.text
    assert len(conda_channel.server.requests) > before


def test_same_bytes_from_another_folder_and_an_empty_cache(
    solver: Solver, conda_channel: CondaChannel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = solver.lock("rich", "greet", platforms=("linux-64", "osx-arm64"))
    monkeypatch.setenv("ENVBUILD_CACHE", str(tmp_path / "another-cache"))
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    other = Solver.on(conda_channel, tmp_path / "a" / "very" / "different" / "folder")
    second = other.lock("greet", "rich", platforms=("osx-arm64", "linux-64"))
    assert second.text == first.text
    assert str(tmp_path).encode() not in first.text


def test_lock_is_conda_locks_own_format(solver: Solver, tmp_path: Path) -> None:
    solution = solver.lock("greet")
    content = yaml.safe_load(solution.text)
    assert content["version"] == 1
    assert content["metadata"]["channels"] == [{"url": "conda-forge", "used_env_vars": []}]
    (entries,), (packages,) = parse_conda_lock(solution.text).values(), solution.packages.values()
    assert [(e.name, e.build, e.url, e.sha256) for e in entries] == [
        (p.name, p.build, p.url, p.sha256) for p in packages
    ]
    (tmp_path / "conda-lock.yml").write_bytes(solution.text)
    command = [sys.executable, "-P", "-m", "conda_lock", "render", "--kind=explicit"]
    subprocess.run(
        [*command, "--platform=linux-64", "conda-lock.yml"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    rendered = (tmp_path / "conda-linux-64.lock").read_text()
    assert "@EXPLICIT" in rendered
    assert all(package.url in rendered for package in solution.packages["linux-64"])


def test_exact_and_ranged_python(solver: Solver) -> None:
    minor = int(VERSION.split(".")[1])
    solution = solver.lock(python=VERSION)
    assert [p.name for p in solution.packages["linux-64"]] == ["python"]
    with pytest.raises(LockError, match="python") as caught:
        solver.lock(python=f"3.{minor + 1}.*")
    assert caught.value.code == "lock.unsatisfiable"


def test_specs_of_every_form(solver: Solver) -> None:
    solution = solver.lock(
        "greet=1.0",
        "greeting-words 1.1 pyhd8ed1ab_0",
        "conda-forge::mdurl",
        "prefix-text[version='>=1,<2', build=h0_*]",
        "click !=0.1",
    )
    found = versions(solution.packages["linux-64"])
    assert found["greet"] == "1.0"
    assert found["greeting-words"] == "1.1"
    assert set(found) == {"greet", "greeting-words", "mdurl", "prefix-text", "click"}


def test_a_field_that_conda_lock_would_drop_is_refused(solver: Solver) -> None:
    with pytest.raises(LockError, match="`build_number`") as caught:
        solver.lock("greet[version='1.*', build_number=1]")
    assert caught.value.code == "lock.match-spec"


def test_a_spec_that_nobody_can_read_is_named(solver: Solver) -> None:
    with pytest.raises(LockError, match="greet >>1") as caught:
        solver.lock("greet >>1")
    assert caught.value.code == "lock.match-spec"


def test_unsatisfiable_shows_the_solvers_explanation_once(solver: Solver) -> None:
    with pytest.raises(LockError) as caught:
        solver.lock("want-old-words", "want-new-words", platforms=("linux-64", "osx-arm64"))
    error = caught.value
    assert error.code == "lock.unsatisfiable"
    assert "linux-64, osx-arm64:" in error.message
    assert error.message.count("greeting-words >=1.2") == 1
    assert "└─" in error.message
    for noise in ("Traceback", "CalledProcessError", "STDOUT", "Command:", "--override-channels"):
        assert noise not in str(error)
    assert "envs/cpu.toml" in (error.hint or "")
    (log,) = [Path(w.strip("`")) for w in error.message.split() if w.endswith(".log`")]
    assert "CalledProcessError" in log.read_text()


def test_unsatisfiable_names_only_the_platforms_that_fail(solver: Solver) -> None:
    with pytest.raises(LockError) as caught:
        solver.lock("prefix-binary", platforms=PLATFORMS)
    message = caught.value.message
    assert "linux-aarch64, osx-arm64:" in message
    assert "`linux-64`" not in message


def test_a_mistyped_name_is_answered_with_near_ones(solver: Solver) -> None:
    with pytest.raises(LockError, match=r"no channel has `greeet`.*near names: greet"):
        solver.lock("greeet")


def test_virtual_packages_are_the_targets_and_not_this_machines(
    solver: Solver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDA_OVERRIDE_GLIBC", "2.99")
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "12.9")
    assert versions(solver.lock("needs-glibc").packages["linux-64"]) == {"needs-glibc": "1.0"}
    newer = solver.lock("needs-glibc", machine=VirtualPackages(glibc="2.36"))
    assert versions(newer.packages["linux-64"]) == {"needs-glibc": "2.0"}
    with pytest.raises(LockError, match="__cuda >=12"):
        solver.lock("needs-cuda")
    cuda = solver.lock("needs-cuda", machine=VirtualPackages(cuda="12.4"))
    assert versions(cuda.packages["linux-64"]) == {"needs-cuda": "1.0"}


def test_pins_stay_where_the_request_allows(solver: Solver) -> None:
    old = solver.lock("greet <2", "greeting-words 1.0")
    assert versions(old.packages["linux-64"]) == {"greet": "1.1", "greeting-words": "1.0"}
    wider = solver.lock("greet", "mdurl", previous=old)
    found = versions(wider.packages["linux-64"])
    assert found == {"greet": "1.1", "greeting-words": "1.0", "mdurl": found["mdurl"]}
    forced = solver.lock("greet >=2", "mdurl", previous=wider)
    assert versions(forced.packages["linux-64"]) == {**found, "greet": "2.0"}


def test_upgrade_moves_only_what_it_names(solver: Solver) -> None:
    old = solver.lock("greet <2", "greeting-words 1.0")
    one = solver.lock("greet", previous=old, upgrade=Upgrade(packages=frozenset({"greet"})))
    assert versions(one.packages["linux-64"]) == {"greet": "2.0", "greeting-words": "1.0"}
    other = solver.lock(
        "greet", previous=old, upgrade=Upgrade(packages=frozenset({"greeting-words"}))
    )
    assert versions(other.packages["linux-64"]) == {"greet": "1.1", "greeting-words": "1.2"}
    everything = solver.lock("greet", previous=old, upgrade=Upgrade(everything=True))
    assert versions(everything.packages["linux-64"]) == {"greet": "2.0", "greeting-words": "1.2"}
    assert everything.text == solver.lock("greet").text


def test_an_unknown_name_to_upgrade_is_answered_with_near_ones(solver: Solver) -> None:
    old = solver.lock("greet")
    with pytest.raises(LockError) as caught:
        solver.lock("greet", previous=old, upgrade=Upgrade(packages=frozenset({"greting-words"})))
    assert caught.value.code == "lock.unknown-package"
    assert "`greeting-words`" in (caught.value.hint or "")


def test_a_damaged_previous_lock_is_no_obstacle(solver: Solver) -> None:
    solution = solver.lock("greet", previous=b"package: [")
    assert versions(solution.packages["linux-64"])["greet"] == "2.0"
    assert ["no pin" in note for note in solver.progress.notes] == [True]


def test_a_pin_that_was_edited_by_hand_is_healed(solver: Solver) -> None:
    old = solver.lock("greet")
    sha256 = next(p.sha256 for p in old.packages["linux-64"] if p.name == "greet")
    edited = old.text.replace(sha256.encode(), b"0" * 64)
    assert edited != old.text
    assert solver.lock("greet", previous=edited).text == old.text


def test_a_new_version_in_the_channel_moves_nothing_unasked(
    conda_channel: CondaChannel, cache: Cache, tmp_path: Path
) -> None:
    with open_channel(conda_channel.folder, tmp_path / "copy" / "main") as channel:
        solver = Solver.on(channel, tmp_path / "solver")
        newest = channel.find("greet-2.0-")
        away = tmp_path / newest.name
        newest.rename(away)
        index_channel(channel.folder)
        old = solver.lock("greet")
        away.rename(newest)
        index_channel(channel.folder)
        assert solver.lock("greet", previous=old).text == old.text
        assert versions(solver.lock("greet").packages["linux-64"])["greet"] == "2.0"


def test_an_archive_without_sha256_is_fetched_and_hashed(
    conda_channel: CondaChannel, cache: Cache, tmp_path: Path
) -> None:
    with open_channel(conda_channel.folder, tmp_path / "copy" / "main") as channel:
        solver = Solver.on(channel, tmp_path / "solver")
        with_hashes = solver.lock("greet")
        _drop_sha256(channel.folder / "noarch")
        without = solver.lock("greet")
        assert without.text == with_hashes.text


def _drop_sha256(subdir: Path) -> None:
    """Leave an index as old tools wrote it: plain JSON, MD5 only."""
    index = subdir / "repodata.json"
    content = json.loads(index.read_bytes())
    for packages in (content["packages"], content["packages.conda"]):
        for entry in packages.values():
            del entry["sha256"]
    index.unlink()
    index.write_text(json.dumps(content))
    for other in ("repodata.json.zst", "repodata_shards.msgpack.zst"):
        (subdir / other).unlink()


def test_a_folder_is_a_channel(solver: Solver, conda_channel: CondaChannel) -> None:
    solution = solver.lock("greet", channels=[conda_channel.folder.as_uri()])
    assert all(p.url.startswith("file://") for p in solution.packages["linux-64"])


def test_channels_are_strictly_ordered(
    conda_channel: CondaChannel, cache: Cache, tmp_path: Path
) -> None:
    with open_channel(conda_channel.folder, tmp_path / "copy" / "main") as channel:
        channel.find("greet-2.0-").unlink()
        channel.find("greet-1.1-").unlink()
        index_channel(channel.folder)
        solver = Solver.on(conda_channel, tmp_path / "solver")
        solution = solver.lock("greet", channels=[channel.url, "conda-forge"])
        assert versions(solution.packages["linux-64"])["greet"] == "1.0"


def test_what_defaults_stands_for_is_not_guessed(solver: Solver) -> None:
    with pytest.raises(LockError, match="`defaults`") as caught:
        solver.lock("greet", channels=["defaults"])
    assert caught.value.code == "lock.defaults-channel"


@pytest.mark.parametrize(("status", "says"), [(404, "404 Not Found"), (500, "500"), (403, "403")])
def test_a_channel_that_refuses_is_named(
    cache: Cache, tmp_path: Path, status: int, says: str
) -> None:
    with serve_folder(tmp_path, status=status) as server:
        solver = Solver(folder=tmp_path / "solver", settings=Settings())
        with pytest.raises(LockError, match=says) as caught:
            solver.lock("greet", channels=[f"{server.url}/team"])
    assert caught.value.code == "lock.channel"
    assert f"`{server.url}/team`" in caught.value.message
    assert "Traceback" not in str(caught.value)


def test_a_channel_that_is_down_is_named(cache: Cache, tmp_path: Path) -> None:
    with serve_folder(tmp_path) as server:
        url = f"{server.url}/team"
    solver = Solver(folder=tmp_path / "solver", settings=Settings())
    with pytest.raises(LockError, match="refused") as caught:
        solver.lock("greet", channels=[url])
    assert caught.value.code == "lock.channel"
    assert f"`{url}`" in caught.value.message
    assert "mirrors" in (caught.value.hint or "")


def test_nothing_heavy_is_imported_in_this_process() -> None:
    code = (
        "import sys; import envbuild.lock.conda, envbuild.lock.conda_names; "
        "print(sorted({m.partition('.')[0] for m in sys.modules}"
        " & {'rattler', 'conda_lock', 'yaml', 'urllib3', 'packaging', 'asyncio'}))"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert output.strip() == "[]"
