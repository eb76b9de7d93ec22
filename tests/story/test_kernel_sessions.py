"""`nox -s kernel`: from a spec to a notebook's answers, in the image and in the folder."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envbuild.engine.client import Engine
from tests.rig.documents import find_undocumented
from tests.rig.kernels import (
    Session,
    ask,
    interrupt,
    list_containers,
    open_kernel,
    restart,
    wait_until_gone,
)
from tests.rig.project import Project

pytestmark = [
    pytest.mark.network,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]

SPEC = """\
platforms = ["linux-64"]
python = "3.11.*"
[conda]
dependencies = ["greet"]
[pip]
dependencies = ["ipykernel>=6.29,<8"]
resolver = "uv"
[image]
base = "debian:bookworm"
bytecode = false
[env]
COLOUR = "blue $HOME {prefix} {connection_file}"
TOKEN = "${TOKEN}"
URL = "https://robot:${TOKEN}@example.com"
"""
SECRET = "s3cret-$HOME-{prefix}"
SEEN = "[os.environ[name] for name in ('COLOUR', 'TOKEN', 'URL')]"


@pytest.fixture
def kernels(
    image_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """A repository with a lock that has ipykernel, and a user who has no kernels yet.

    Beside the notebooks are files of the names of modules that envbuild needs.
    """
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    image_project.write("envs/demo.toml", SPEC)
    image_project.must("-s", "lock", "--", "demo")
    for name in ("docker", "envbuild"):
        image_project.write(f"notebooks/{name}.py", "raise SystemExit('a file of the user')\n")
    yield image_project
    planted = [p for p in tmp_path.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]
    assert planted == []


def _kernel(project: Project, *options: str) -> str:
    return project.must("-s", "kernel", "--", *options).stdout


def _install(project: Project, *options: str) -> dict[str, Any]:
    text = _kernel(project, "demo", "--json", *options)
    found: dict[str, Any] = json.loads(text[text.index("{") :])
    return found


def _spend_a_day(session: Session) -> None:
    """Run cells, interrupt one, and restart the kernel."""
    seen = str([
        "blue $HOME {prefix} {connection_file}", SECRET, f"https://robot:{SECRET}@example.com"
    ])  # fmt: skip
    assert ask(session, "import greet, os; x = 6 * 7; x") == "42"
    assert ask(session, SEEN).replace("\n", "") == seen
    assert interrupt(session) == "KeyboardInterrupt"
    assert ask(session, "x") == "42"
    restart(session)
    assert ask(session, "import os; 'x' in globals()") == "False"
    assert ask(session, SEEN).replace("\n", "") == seen


def _start(project: Project, made: dict[str, Any]) -> str:
    """Start the kernel without what its variables refer to; return what a client's log gets."""
    command = json.loads(Path(made["file"]).read_bytes())["argv"]
    file = project.write("connection.json", json.dumps(dict.fromkeys(
        ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port"), 1
    )))  # fmt: skip
    done = subprocess.run(
        [str(file) if word == "{connection_file}" else word for word in command],
        cwd=project.root, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.engine
def test_a_notebook_in_the_image(
    engine: Engine, kernels: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _install(kernels)
    assert (made["name"], made["target"]) == ("envbuild-demo", "docker")
    assert find_undocumented("kernel", made) == set()
    assert "`TOKEN`, which is not set" in _start(kernels, made)
    monkeypatch.setenv("TOKEN", SECRET)
    with open_kernel("envbuild-demo", cwd=kernels.root / "notebooks") as session:
        _spend_a_day(session)
        assert ask(session, "os.getcwd()") == "'/work/notebooks'"
        assert len(list_containers(engine, tmp_path)) == 1
        session.manager.shutdown_kernel()
        wait_until_gone(engine, tmp_path)
    engine.client.images.remove(made["what"], force=True)


def test_a_notebook_in_the_folder(
    kernels: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _install(kernels, "--target", "local")
    assert (made["name"], made["target"]) == ("envbuild-demo-local", "local")
    assert "`TOKEN`, which is not set" in _start(kernels, made)
    monkeypatch.setenv("TOKEN", SECRET)
    kernels.write("elsewhere/greet.py", "raise SystemExit('not of the environment')\n")
    monkeypatch.setenv("PYTHONPATH", str(kernels.root / "elsewhere"))
    place = f"{kernels.root}/.envbuild/envs/demo"
    with open_kernel("envbuild-demo-local", cwd=kernels.root / "notebooks") as session:
        _spend_a_day(session)
        assert ask(session, "os.getcwd()") == f"'{kernels.root}/notebooks'"
        assert ask(session, "import sys; sys.executable") == f"'{place}/bin/python'"
        assert ask(session, "import shutil; os.path.samefile(shutil.which('python'), _)") == "True"
    Path(place).unlink()
    assert "[prefix.missing]" in _start(kernels, made)


def test_kernels_are_listed_and_removed(
    image_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = image_project
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    said = project.refused("kernel.no-ipykernel", "-s", "kernel", "--", "demo", "--target", "local")
    assert "nox -s add -- demo --pip ipykernel" in said
    project.write("envs/demo.toml", SPEC)
    project.must("-s", "lock", "--", "demo")
    _install(project, "--target", "local")
    project.refused("kernel.bad-name", "-s", "kernel", "--", "demo", "--remove", "--name", "../x")
    other = project.copy(tmp_path, JUPYTER_DATA_DIR=str(tmp_path / "jupyter"))
    assert "no kernels" in _kernel(other, "--list")
    other.refused("kernel.missing", "-s", "kernel", "--", "demo", "--remove", "--target", "local")
    assert "envbuild-demo-local" in _kernel(project, "--list")
    removed = _install(project, "--remove", "--target", "local")
    assert removed == {"environment": "demo", "removed": "envbuild-demo-local"}
    assert not list((tmp_path / "jupyter/kernels").iterdir())
