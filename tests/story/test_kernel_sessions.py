"""`nox -s kernel`: from a lock to a notebook's answer, in the folder of `nox -s local-env`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.rig.kernels import ask, open_kernel
from tests.rig.project import Project

pytestmark = [
    pytest.mark.network,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


def _kernel(project: Project, *options: str) -> str:
    return project.must("-s", "kernel", "--", *options).stdout


def test_a_notebook_in_the_local_environment(
    image_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = image_project
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    said = project.refused("kernel.no-ipykernel", "-s", "kernel", "--", "demo", "--target", "local")
    assert "nox -s add -- demo --pip ipykernel" in said
    project.write(
        "envs/demo.toml",
        'platforms = ["linux-64"]\npython = "3.11.*"\n[conda]\ndependencies = ["greet"]\n'
        '[pip]\ndependencies = ["ipykernel>=6.29,<8"]\nresolver = "uv"\n'
        '[image]\nbase = "scratch"\n[env]\nCOLOUR = "blue $HOME"\n',
    )
    project.must("-s", "lock", "--", "demo")
    text = _kernel(project, "demo", "--target", "local", "--json")
    made = json.loads(text[text.index("{") :])
    assert made["name"] == "envbuild-demo-local"
    project.refused("kernel.bad-name", "-s", "kernel", "--", "demo", "--remove", "--name", "../x")
    with open_kernel("envbuild-demo-local", cwd=project.root) as session:
        assert ask(session, "import greet, os, sys; os.environ['COLOUR']") == "'blue $HOME'"
        assert ask(session, "os.getcwd()") == f"'{project.root}'"
        assert ask(session, "sys.executable").strip("'") == (
            f"{project.root}/.envbuild/envs/demo/bin/python"
        )
    other = project.copy(tmp_path, JUPYTER_DATA_DIR=str(tmp_path / "jupyter"))
    assert "no kernels" in _kernel(other, "--list")
    other.refused("kernel.missing", "-s", "kernel", "--", "demo", "--remove", "--target", "local")
    assert "envbuild-demo-local" in _kernel(project, "--list")
    _kernel(project, "demo", "--remove", "--target", "local")
    assert not list((tmp_path / "jupyter/kernels").iterdir())
