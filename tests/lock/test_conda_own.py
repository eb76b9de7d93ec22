"""A conda that the user names goes through the same path as envbuild's own.

Here it is a program that hands every call to the front, so it knows nothing of pins.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from envbuild.errors import LockError, ToolError
from envbuild.kit.places import Cache
from envbuild.lock.conda_client import mirror_environment
from envbuild.lock.upgrade import Upgrade
from tests.rig.conda_channel import CondaChannel
from tests.rig.conda_solver import Solver, versions, write_own_conda

GREET = Upgrade(packages=frozenset({"greet"}))


@pytest.fixture
def plain(
    conda_channel: CondaChannel, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Solver:
    """Locks with envbuild's own solver; a user's conda has its mirrors from its own settings."""
    for name, value in mirror_environment(conda_channel.mirrors).items():
        monkeypatch.setenv(name, value)
    return Solver.on(conda_channel, tmp_path / "solver")


@pytest.fixture
def own(plain: Solver, tmp_path: Path) -> Solver:
    return plain.with_conda(write_own_conda(tmp_path / "my-conda"))


def test_it_makes_the_same_lock(plain: Solver, own: Solver) -> None:
    solution = own.lock("greet", platforms=("linux-64", "osx-arm64"))
    assert solution.text == plain.lock("greet", platforms=("linux-64", "osx-arm64")).text
    assert set(solution.tools) == {"conda-lock", "my-conda"}
    assert not any(os.sep in value for value in solution.tools.values())


def test_it_is_found_on_the_path(
    plain: Solver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    write_own_conda(tmp_path / "bin" / "team-conda")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    solution = plain.with_conda("team-conda").lock("mdurl")
    assert "team-conda" in solution.tools


def test_it_gets_the_users_flags_and_ours_does_not(
    plain: Solver, own: Solver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDA_FLAGS", "--no-such-flag")
    assert versions(plain.lock("greet").packages["linux-64"])["greet"] == "2.0"
    with pytest.raises(ToolError) as caught:
        own.lock("greet")
    assert caught.value.code == "tool.failed"


def test_it_shows_the_solvers_explanation_too(own: Solver) -> None:
    with pytest.raises(LockError, match=r"greeting-words >=1\.2") as caught:
        own.lock("want-old-words", "want-new-words")
    assert caught.value.code == "lock.unsatisfiable"


def test_one_package_moves_and_the_others_stay(plain: Solver, own: Solver) -> None:
    old = plain.lock("greet <2", "greeting-words 1.0", "mdurl")
    # What the spec changed is solved again first, or the lock would not be what it asks for.
    wider = plain.lock("greet", "mdurl", previous=old)
    moved = own.lock("greet", "mdurl", previous=wider, upgrade=GREET)
    found = versions(moved.packages["linux-64"])
    assert found == {"greet": "2.0", "greeting-words": "1.0", "mdurl": found["mdurl"]}
    changed = own.lock("greet <2", "mdurl", "rich", previous=moved, upgrade=GREET)
    assert versions(changed.packages["linux-64"])["greet"] == "1.1"
    assert "rich" in versions(changed.packages["linux-64"])


def test_only_named_packages_can_be_moved_alone(plain: Solver, own: Solver) -> None:
    old = plain.lock("greet")
    upgrade = Upgrade(packages=frozenset({"greeting-words"}))
    with pytest.raises(LockError) as caught:
        own.lock("greet", previous=old, upgrade=upgrade)
    assert caught.value.code == "lock.upgrade-indirect"
    assert "`greeting-words`" in caught.value.message


def test_other_channels_are_solved_from_scratch(
    plain: Solver, own: Solver, conda_channel: CondaChannel
) -> None:
    old = plain.lock("greet <2")
    solution = own.lock("greet", channels=[conda_channel.url], previous=old, upgrade=GREET)
    assert {p.url.partition("/noarch")[0] for p in solution.packages["linux-64"][:2]} == {
        conda_channel.url
    }


def test_a_missing_one_is_an_error_and_no_download(plain: Solver) -> None:
    with pytest.raises(ToolError, match="no-such-conda") as caught:
        plain.with_conda("no-such-conda").lock("mdurl")
    assert caught.value.code == "tool.missing"
    assert "leave `conda` out" in (caught.value.hint or "")


def test_a_file_that_is_no_program_is_an_error(plain: Solver, tmp_path: Path) -> None:
    (tmp_path / "conda").write_text("not a program")
    with pytest.raises(ToolError) as caught:
        plain.with_conda(str(tmp_path / "conda")).lock("mdurl")
    assert caught.value.code == "tool.missing"


def test_one_that_does_not_run_is_an_error(plain: Solver, tmp_path: Path) -> None:
    broken = tmp_path / "broken-conda"
    broken.write_text("#!/bin/sh\necho 'libmamba.so is missing' >&2\nexit 127\n")
    broken.chmod(0o755)
    with pytest.raises(ToolError, match=r"libmamba\.so is missing") as caught:
        plain.with_conda(str(broken)).lock("mdurl")
    assert caught.value.code == "tool.failed"


def test_packages_without_sha256_are_refused(plain: Solver, tmp_path: Path) -> None:
    drop = (
        f'{sys.executable} -c "import re, sys; '
        r"""print(re.sub(r', .sha256.: .[0-9a-f]+.', '', sys.stdin.read()))" """
    )
    old = write_own_conda(tmp_path / "old-conda", pipe=drop)
    with pytest.raises(LockError) as caught:
        plain.with_conda(old).lock("mdurl")
    assert caught.value.code == "lock.no-sha256"
