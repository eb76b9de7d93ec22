"""Files of the repository in an image: an edit moves the tag, and one layer."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from envbuild.engine.client import Engine
from envbuild.oci.store import Store
from tests.rig.project import Project
from tests.rig.registry import RunningRegistry
from tests.rig.sources import commit_all, run_git

SOURCES = """
[[image.source]]
path = "models"
target = "/srv/models"

[[image.source]]
path = "service.yaml"
target = "/etc/service [$1].yaml"
"""


@pytest.fixture
def sourced(image_project: Project) -> Project:
    """A git repository with a locked environment, whose image holds a folder and a file."""
    spec = (image_project.root / "envs/demo.toml").read_text()
    image_project.write("envs/demo.toml", spec + SOURCES)
    image_project.write("models/run.sh", "#!/bin/sh\n").chmod(0o700)
    (image_project.root / "models/big.bin").write_bytes(os.urandom(3_000_000))
    image_project.write("service.yaml", "port: 1\n")
    image_project.write(".gitignore", "*.tmp\n.nox\n")
    run_git(image_project.root, "init", "-q")
    commit_all(image_project.root, "first")
    return image_project


def _layers(project: Project, built: dict[str, str]) -> list[str]:
    store = Store(project.cache / "store")
    return [layer["digest"] for layer in json.loads(store.read(built["manifest"]))["layers"]]


def _sent(outcome: str) -> float:
    """Return how many megabytes a push said that it sent."""
    found = re.search(r"pushed \d+ blobs, ([\d.]+) MB", outcome)
    assert found, outcome
    return float(found[1])


@pytest.mark.registry
def test_an_edit_moves_the_tag_and_one_layer(sourced: Project, registry: RunningRegistry) -> None:
    sourced.variables["ENVBUILD_REPOSITORY"] = f"{registry.host}/sources"
    sourced.must("-s", "check")  # nothing of it is in the lock
    first = sourced.build("demo", "--push")
    assert _sent(first["outcome"]) >= 3
    before = sourced.snapshot()

    sourced.write("service.yaml", "port: 2\n")
    sourced.must("-s", "check")
    plan = sourced.must("-s", "build-env", "--", "demo", "--plan", "--push", "--json").stdout
    (planned,) = json.loads(plan[plan.index("[") :])
    made = [layer["title"] for layer in planned["layers"] if layer["action"] == "make"]
    assert made == ["source: /etc/service [$1].yaml"]
    second = sourced.build("demo", "--push")
    assert second["reference"] != first["reference"]
    assert "(1 of" in second["outcome"]
    assert _sent(second["outcome"]) < 0.1  # the big source stays where it is
    assert sourced.snapshot() == before
    one, two = _layers(sourced, first), _layers(sourced, second)
    moved = [n for n, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
    assert moved == [len(one) - 2]  # by target: the folder is above the file

    told = json.loads(sourced.must("-s", "explain", "--", "demo@HEAD", "demo", "--json").stdout)
    assert [d["what"] for d in told["differences"]] == ["source `/etc/service [$1].yaml`"]
    assert told["tags"] == [b["reference"].rpartition(":")[2] for b in (first, second)]
    jobs = json.loads(sourced.must("-s", "ci-matrix", "--", "--offline", "--since", "HEAD").stdout)
    assert [job["why"] for job in jobs["include"]] == ["changed"]


def test_two_machines_and_an_edit_that_is_taken_back_agree(
    sourced: Project, tmp_path: Path
) -> None:
    first = sourced.build("demo")
    other = sourced.copy(tmp_path, TZ="Asia/Kathmandu", PYTHONHASHSEED="7")
    (other.root / "models/run.sh").chmod(0o755)
    other.write("models/x.tmp", "git ignores it")
    assert other.build("demo")["manifest"] == first["manifest"]
    (sourced.root / "models/run.sh").chmod(0o644)
    assert sourced.build("demo")["reference"] != first["reference"]
    (sourced.root / "models/run.sh").chmod(0o755)
    assert sourced.build("demo")["manifest"] == first["manifest"]


def test_what_looks_at_an_image_tells_of_them(sourced: Project) -> None:
    sourced.build("demo")
    shown = sourced.must("-s", "show", "--", "demo").stdout
    assert "models at /srv/models" in shown
    assert "source: /srv/models" in shown
    text = sourced.must("-s", "build-env", "--", "demo", "--dockerfile").stdout
    assert 'COPY ["models", "/srv/models"]' in text
    assert 'COPY ["service.yaml", "/etc/service [\\\\$1].yaml"]' in text
    (sourced.root / "models").rename(sourced.root / "moved")
    assert "`models`" in sourced.refused("source.missing", "-s", "build-env", "--", "demo")


def test_what_a_commit_has_not_is_told(project: Project) -> None:
    run_git(project.root, "init", "-q")
    commit_all(project.root, "first")
    project.write("envs/demo.toml", 'python = "3.11.*"\n[conda]\n')
    text = project.refused("explain.commit", "-s", "explain", "--", "demo@HEAD")
    assert "no `envs/demo.toml` at `HEAD`" in text
    assert "`nowhere" in project.refused("git.commit", "-s", "explain", "--", "demo@nowhere")


RUN = """
[train]
script = "train.py"
source = "src"
outputs = []

[smoke]
command = ["python", "-m", "http.server", "8000", "--directory", "/srv/models"]
port = 8000
source = "src"
request = [{ path = "/run.sh", expect = { contains = "#!/bin/sh" } }]
"""


@pytest.mark.engine
@pytest.mark.network
def test_runs_see_the_files(sourced: Project, engine: Engine) -> None:
    head = 'python = "3.11.*"\n[system]\npackages = ["python3.11"]\n[image]\nuser = "nonroot"\n'
    sourced.write("envs/demo.toml", head + SOURCES + RUN)
    sourced.must("-s", "lock", "--", "demo")
    sourced.write(
        "src/train.py",
        "import os, pathlib\n"
        "print('big', pathlib.Path('/srv/models/big.bin').stat().st_size)\n"
        "print('runs', os.access('/srv/models/run.sh', os.X_OK))\n"
        "print(pathlib.Path('/etc/service [$1].yaml').read_text())\n",
    )
    out = sourced.must("-s", "train", "--", "demo").stdout
    assert "big 3000000" in out
    assert "runs True" in out
    assert "port: 1" in out
    sourced.must("-s", "smoke", "--", "demo")
