"""The list of environments, and the one that is meant where a repository has none."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from envbuild.kit.places import Cache
from tests.rig.project import Project


@pytest.fixture
def project(tmp_path: Path, cache: Cache) -> Project:
    (tmp_path / "repository/envs").mkdir(parents=True)
    (tmp_path / "repository/noxfile.py").write_text(
        "from pathlib import Path\n\nimport envbuild\n\nenvbuild.register(Path(__file__).parent)\n"
    )
    return Project(root=tmp_path / "repository", cache=cache.root)


def test_environments_are_listed_with_the_state_of_their_locks(project: Project) -> None:
    (project.root / "envs/child.toml").write_text(
        'extends = "envbuild-scientific"\n[pip]\nwithout = ["matplotlib"]\n'
    )
    (project.root / "envs/wrong.toml").write_text('extends = "nowhere"\n')
    listed = {
        one["environment"]: one
        for one in json.loads(project.must("-s", "envs", "--", "--json").stdout)
    }
    assert (listed["child"]["lock"], listed["child"]["curated"]) == ("lock.missing", False)
    assert "numpy>=2" in listed["child"]["requests"]
    assert "matplotlib>=3.9" not in listed["child"]["requests"]
    assert listed["wrong"]["lock"] == "spec.extends"
    assert "`envs/nowhere.toml`" in listed["wrong"]["error"]
    assert listed["envbuild-gpu-training"]["curated"]
    text = project.must("-s", "envs", "--", "--curated").stdout
    assert "child" not in text
    assert "envbuild-minimal: Python alone" in text


def test_repository_without_environments_takes_the_smallest_and_says_so(project: Project) -> None:
    done = project.nox("-s", "explain")
    assert "there is none in `envs/`; taking `envbuild-minimal`" in done.text
    assert "lock.missing" in done.text


def test_which_environment_is_meant_where_none_is_named(project: Project) -> None:
    """By sessions about one, and about all: with none, one and three, with a default, and a lock
    of one that comes with envbuild."""

    def meant(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "envbuild", *words], cwd=project.root, text=True,
            env=project.environment, capture_output=True, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        noted = "taking `envbuild-minimal`" in done.stderr
        codes = re.findall(r"environment `([a-z-]+)` is not locked|(session\.which)", done.stderr)
        return ",".join(name or code for name, code in codes) + (" (said)" if noted else "")

    sessions = [("train",), ("smoke",), ("build-env",), ("check",)]
    assert [meant(*words) for words in sessions] == ["envbuild-minimal (said)"] * 4
    (project.root / "envs/a.toml").write_text('python = "3.11.*"\n')
    assert [meant(*words) for words in sessions] == ["a"] * 4
    locked = project.root / "lockfiles/envbuild-minimal"
    locked.mkdir(parents=True)
    assert [meant(*words) for words in sessions] == ["a"] * 2 + ["a,envbuild-minimal"] * 2
    locked.rmdir()
    for name in ("b", "c"):
        (project.root / f"envs/{name}.toml").write_text('python = "3.11.*"\n')
    assert [meant(*words) for words in sessions] == ["session.which"] * 2 + ["a,b,c"] * 2
    assert meant("train", "b") == "b"
    project.configure(default_environment="b")
    assert [meant(*words) for words in sessions] == ["b"] * 2 + ["a,b,c"] * 2
    locked.mkdir()
    assert meant("check") == "a,b,c,envbuild-minimal"
    project.configure()
    for file in (project.root / "envs").iterdir():
        file.unlink()
    said = "envbuild-minimal (said)"
    assert [meant(*words) for words in sessions] == [said] * 2 + ["envbuild-minimal"] * 2


def test_a_script_in_place_of_an_environment_is_told_where_it_belongs(project: Project) -> None:
    said = project.refused("session.arguments", "-s", "train", "--", "train.py")
    assert "`script` under `[train]`" in said


def test_lock_of_a_curated_environment_is_no_lock_without_a_spec(project: Project) -> None:
    lock = project.write("lockfiles/envbuild-minimal/envbuild.lock", "no lock\n")
    subprocess.run(["git", "init", "-q"], cwd=project.root, check=True)
    subprocess.run(["git", "add", "-A"], cwd=project.root, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "envbuild", "check", "--json", "--files", str(lock)],
        cwd=project.root, env=project.environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    (error,) = json.loads(done.stdout)["errors"]
    assert error["environment"] == "envbuild-minimal"
    assert error["code"].startswith("lock.")


def test_curated_name_that_does_not_exist_is_told_with_the_nearest(project: Project) -> None:
    done = project.nox("-s", "check", "--", "envbuild-minimum")
    assert "did you mean `envbuild-minimal`?" in done.text
