"""The list of environments, and the one that is meant where a repository has none."""

from __future__ import annotations

import json
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


def test_curated_name_that_does_not_exist_is_told_with_the_nearest(project: Project) -> None:
    done = project.nox("-s", "check", "--", "envbuild-minimum")
    assert "did you mean `envbuild-minimal`?" in done.text
