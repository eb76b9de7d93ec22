"""The stand-in for conda, called as conda-lock calls it, and what its failures become."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from envbuild.errors import LockError
from envbuild.kit.places import Cache
from envbuild.lock.conda_client import child_command, mirror_environment
from envbuild.lock.conda_failure import parse_failure, say_channel, say_unsatisfiable
from envbuild.lock.conda_file import (
    parse_conda_lock,
    plan_virtual_packages,
    render_environment,
    render_virtual_packages,
)
from envbuild.spec.model import Conda, EnvSpec, VirtualPackages
from envbuild.spec.platforms import PLATFORMS
from tests.rig.conda_channel import CondaChannel


def _call(
    channel: CondaChannel, *arguments: str, platform: str = "linux-64", **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **mirror_environment(channel.mirrors), "CONDA_SUBDIR": platform}
    return subprocess.run(
        [*child_command("envbuild.lock.conda_front"), *arguments],
        env={**environment, **more},
        capture_output=True,
        text=True,
        check=False,
    )


def _virtual_channel(folder: Path, **packages: str) -> str:
    """Write virtual packages as conda-lock does: a channel of its own."""
    entries = {
        f"__{name}-{version}-0.tar.bz2": {
            "name": f"__{name}", "version": version, "build": "0", "build_number": 0,
            "package_type": "virtual_system", "depends": [], "subdir": "linux-64",
        }
        for name, version in packages.items()
    }  # fmt: skip
    (folder / "linux-64").mkdir(parents=True)
    (folder / "linux-64" / "repodata.json").write_text(json.dumps({"packages": entries}))
    return folder.as_uri()


CREATE = ("create", "--prefix", "nowhere", "--dry-run", "--json", "--override-channels")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    virtual = _virtual_channel(tmp_path / "virtual", glibc="2.28", unix="0")
    return ["--channel", "conda-forge", "--channel", virtual]


def test_version_is_told(conda_channel: CondaChannel) -> None:
    ended = _call(conda_channel, "--version")
    assert (ended.returncode, ended.stdout.split()[0]) == (0, "conda-front")


def test_create_answers_with_fetch_and_link(
    conda_channel: CondaChannel, cache: Cache, arguments: list[str]
) -> None:
    ended = _call(conda_channel, *CREATE, *arguments, "greet 1.0", "numpy >=1,<99")
    assert ended.returncode == 0, ended.stderr
    actions = json.loads(ended.stdout)["actions"]
    assert actions["FETCH"] == actions["LINK"]
    (greet,) = [p for p in actions["FETCH"] if p["name"] == "greet"]
    assert greet["version"] == "1.0"
    assert greet["depends"] == ["python >=3.9", "greeting-words >=1.0"]
    assert greet["url"] == f"{conda_channel.canonical}noarch/greet-1.0-pyhd8ed1ab_0.conda"
    assert greet["dist_name"] == "greet-1.0-pyhd8ed1ab_0"
    assert (len(greet["sha256"]), len(greet["md5"])) == (64, 32)


def test_it_ends_cleanly_every_time(
    conda_channel: CondaChannel, cache: Cache, arguments: list[str]
) -> None:
    # Without leaving at once, py-rattler would abort about every sixth of these.
    codes = {_call(conda_channel, *CREATE, *arguments, "mdurl").returncode for _ in range(12)}
    assert codes == {0}


def test_constraints_on_virtual_packages_hold(
    conda_channel: CondaChannel, cache: Cache, tmp_path: Path
) -> None:
    old = _virtual_channel(tmp_path / "old", glibc="2.12", unix="0")
    channels = ("--channel", "conda-forge", "--channel", old)
    ended = _call(conda_channel, *CREATE, *channels, "needs-glibc")
    assert ended.returncode == 1
    answer = json.loads(ended.stdout)
    assert answer["exception_name"] == "UnsatisfiableError"
    assert "__glibc" in answer["message"]


def _write_installed(prefix: Path, packages: list[dict[str, Any]]) -> None:
    (prefix / "conda-meta").mkdir(parents=True)
    for package in packages:
        entry = {**package, "channel": "https://conda.example.com/x"}
        (prefix / "conda-meta" / f"{package['dist_name']}.json").write_text(json.dumps(entry))


@pytest.mark.parametrize("command", ["install", "update"])
def test_an_update_moves_what_is_named(
    conda_channel: CondaChannel, cache: Cache, arguments: list[str], tmp_path: Path, command: str
) -> None:
    ended = _call(conda_channel, *CREATE, *arguments, "greet 1.0", "greeting-words 1.0")
    _write_installed(tmp_path / "prefix", json.loads(ended.stdout)["actions"]["FETCH"])
    listed = _call(conda_channel, "list", "--no-pip", "-p", str(tmp_path / "prefix"), "--json")
    assert {p["name"]: p["dist_name"] for p in json.loads(listed.stdout)}["greet"] == (
        "greet-1.0-pyhd8ed1ab_0"
    )
    prefix = ("-p", str(tmp_path / "prefix"), "--json", "--dry-run")
    ended = _call(conda_channel, command, "--override-channels", *arguments, *prefix, "greet")
    found = {p["name"]: p["version"] for p in json.loads(ended.stdout)["actions"]["LINK"]}
    assert (found["greet"], found["greeting-words"]) == ("2.0", "1.0")


def test_info_names_the_package_folder(conda_channel: CondaChannel) -> None:
    ended = _call(conda_channel, "info", "--json", CONDA_PKGS_DIRS="here")
    assert json.loads(ended.stdout) == {"pkgs_dirs": ["here"]}


def test_it_installs_nothing(conda_channel: CondaChannel, arguments: list[str]) -> None:
    ended = _call(conda_channel, "create", "--prefix", "nowhere", *arguments, "greet")
    assert ended.returncode == 2
    assert "only solves" in ended.stderr


# What conda and micromamba print, as conda-lock 4 repeats it.
_CONDA = """Locking dependencies for ['linux-64']...
Could not lock the environment for platform linux-64
PackagesNotFoundError: The following packages are not available from current channels:

  - nosuch

    Command: ['/opt/conda/bin/conda', 'create', '--prefix', '/tmp/x/prefix']
    STDOUT:
{
  "caused_by": "None",
  "error": "PackagesNotFoundError: The following packages are not available",
  "exception_name": "PackagesNotFoundError",
  "message": "The following packages are not available from current channels:\\n\\n  - nosuch\\n"
}

Traceback (most recent call last):
"""
_MICROMAMBA = """Message key not found in json! returning the full json text
Could not lock the environment for platform osx-arm64
{'success': False, 'solver_problems': ['nothing provides requested nosuch']}
    Command: ['/usr/bin/micromamba', 'create']
    STDOUT:
{
    "solver_problems": ["nothing provides requested nosuch"],
    "success": false
}
    STDERR:
error    libmamba Could not solve for environment specs
"""
_OFFLINE = """Could not lock the environment for platform linux-64
HTTP 000 CONNECTION FAILED for url <https://me:hush@pkgs.example.com/team/linux-64/repodata.json>
    Command: ['/opt/conda/bin/conda', 'create']
    STDOUT:
{"exception_name": "CondaHTTPError", "message": "HTTP 000 CONNECTION FAILED for url \
<https://me:hush@pkgs.example.com/team/linux-64/repodata.json>\\nElapsed: -"}
"""


def test_condas_and_micromambas_explanations_are_found() -> None:
    conda, micromamba = parse_failure(_CONDA), parse_failure(_MICROMAMBA)
    assert conda is not None
    assert micromamba is not None
    assert (conda.platform, conda.kind) == ("linux-64", "unsatisfiable")
    assert conda.explanation.endswith("- nosuch")
    assert (micromamba.platform, micromamba.kind) == ("osx-arm64", "unsatisfiable")
    assert micromamba.explanation == "nothing provides requested nosuch"
    error = say_unsatisfiable([conda, micromamba], task="cpu", log=Path("a.log"))
    assert "linux-64:\n  The following packages" in error.message
    assert "osx-arm64:\n  nothing provides" in error.message


def test_a_channel_that_conda_cannot_reach_is_named_without_its_password() -> None:
    failure = parse_failure(_OFFLINE)
    assert failure is not None
    assert failure.kind == "channel"
    error = say_channel(failure, log=Path("a.log"))
    assert "`https://pkgs.example.com/team`" in error.message
    assert "hush" not in str(error)


@pytest.mark.parametrize(
    "output", ["", "Killed", "Traceback (most recent call last):\nKeyError: 1"]
)
def test_other_failures_are_left_as_they_are(output: str) -> None:
    assert parse_failure(output) is None


def test_virtual_packages_follow_the_target_and_the_spec() -> None:
    plain = {name: plan_virtual_packages(VirtualPackages(), PLATFORMS[name]) for name in PLATFORMS}
    assert plain["linux-64"] == {
        "__archspec": "1 x86_64", "__glibc": "2.28", "__linux": "5.10", "__unix": "0",
    }  # fmt: skip
    assert plain["linux-aarch64"]["__archspec"] == "1 aarch64"
    assert plain["osx-arm64"] == {"__archspec": "1 arm64", "__osx": "11.0", "__unix": "0"}
    assert plain["win-64"] == {"__archspec": "1 x86_64", "__win": "0"}
    assert not any("__cuda" in planned for planned in plain.values())
    wanted = VirtualPackages(glibc="2.36", cuda="12.4", linux="6.1", osx="13", archspec="x86_64_v3")
    assert plan_virtual_packages(wanted, PLATFORMS["linux-64"]) == {
        "__archspec": "1 x86_64_v3", "__cuda": "12.4", "__glibc": "2.36", "__linux": "6.1",
        "__unix": "0",
    }  # fmt: skip
    assert "__cuda" not in plan_virtual_packages(wanted, PLATFORMS["osx-64"])


def test_rendered_files_do_not_depend_on_order() -> None:
    def spec(*dependencies: str, platforms: tuple[str, ...]) -> EnvSpec:
        conda = Conda(dependencies=dependencies)
        return EnvSpec(python="3.11", platforms=platforms, conda=conda)

    one = render_environment(spec("numpy 2.*", "click", platforms=("osx-64", "linux-64")))
    assert one == render_environment(spec("click", "numpy 2.*", platforms=("linux-64", "osx-64")))
    assert "- python 3.11.*\n" in one
    planned = {"osx-64": {"__unix": "0"}, "linux-64": {"__unix": "0"}}
    reverse = dict(reversed(planned.items()))
    assert render_virtual_packages(planned) == render_virtual_packages(reverse)


_MISNAMED = b"""version: 1
metadata: {platforms: [linux-64]}
package:
- {manager: conda, name: a, version: '1', platform: linux-64, hash: {sha256: '0'},
   url: 'https://pkgs.example.com/b-2-0.conda'}
"""


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"package: [", "is not YAML"),
        (b"", "is no lockfile"),
        (b"[]", "is no lockfile"),
        (b"version: 2\n", "version `2`"),
        (
            b"version: 1\nmetadata: {platforms: [linux-64]}\npackage: [{manager: conda}]",
            "is no lock",
        ),
        (
            _MISNAMED,
            "has `b-2-0.conda` for the package `a` 1",
        ),
    ],
)
def test_a_file_that_is_no_lockfile_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(LockError) as caught:
        parse_conda_lock(data)
    assert caught.value.code == "lock.conda-file"
    assert says in caught.value.message
