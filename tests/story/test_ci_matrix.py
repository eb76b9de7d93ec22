"""The CI matrix: the jobs that are needed, no other, and no guess where nobody can tell."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from envbuild.kit.checkout import open_commit
from tests.rig.project import Project
from tests.rig.registry import RunningRegistry

SMOKE = '[smoke]\ncommand = ["python", "serve.py"]\nport = 8000\n'


def git(project: Project, *words: str) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    done = subprocess.run(
        ["git", *identity, *words], cwd=project.root, check=True, capture_output=True, text=True
    )
    return done.stdout


def commit(project: Project) -> None:
    project.write(".gitignore", ".envbuild/\n")
    git(project, "init", "-q", "-b", "main")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "first")


def matrix(
    project: Project, *words: str, code: int = 0, session: str = "ci-matrix"
) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "envbuild", session, *words],
        cwd=project.root, env=project.environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows(project: Project, *words: str) -> dict[str, str]:
    """Return why each job is there, by its environments."""
    return {row["names"]: row["why"] for row in matrix(project, *words)["include"]}


def copy_environment(project: Project, name: str) -> None:
    """Have an environment of the same content under another name."""
    spec = (project.root / "envs/demo.toml").read_text()
    project.write(f"envs/{name}.toml", spec)
    shutil.copytree(project.root / "lockfiles/demo", project.root / f"lockfiles/{name}")


@pytest.mark.registry
def test_only_images_that_the_registry_lacks_have_jobs(
    image_project: Project, registry: RunningRegistry, tmp_path: Path
) -> None:
    project = image_project
    project.variables["ENVBUILD_REPOSITORY"] = f"{registry.host}/matrix/{tmp_path.name}".lower()
    copy_environment(project, "twin")
    spec = project.root / "envs/demo.toml"
    other = spec.read_text() + 'labels = { team = "b" }\n' + SMOKE
    project.write("envs/other.toml", other)
    shutil.copytree(project.root / "lockfiles/demo", project.root / "lockfiles/other")
    first, second = matrix(project)["include"]
    assert (first["environment"], first["names"], first["smoke"]) == ("demo", "demo twin", "")
    assert (second["names"], second["smoke"], second["why"]) == ("other", "other", "missing")
    assert (first["platform"], first["runner"]) == ("linux-64", "ubuntu-24.04")
    built = project.build("demo", "--push")
    assert built["reference"] == first["reference"]
    assert first["reference"].endswith(f"/demo:{first['tag']}")
    assert rows(project) == {"twin": "missing", "other": "missing"}
    project.build("twin", "--push")
    project.build("other", "--push")
    assert matrix(project) == {"include": []}


def test_a_registry_that_can_not_tell_is_an_error(image_project: Project) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        image_project.variables["ENVBUILD_REPOSITORY"] = f"{host}/team"
        document = matrix(image_project, code=1)
    (error,) = document["errors"]
    assert error["environment"] == "demo"
    assert error["code"].startswith("registry.")
    assert document["done"] is None


def test_git_says_what_changed_where_no_registry_is_asked(image_project: Project) -> None:
    project = image_project
    commit(project)
    assert matrix(project, code=1)["errors"][0]["code"] == "session.no-question"
    assert rows(project, "--since", "HEAD") == {}
    spec = project.root / "envs/demo.toml"
    text = spec.read_text()
    spec.write_text("# a comment\n" + text.replace(" = ", "  =  ") + "[env]\nA = 'b'\n")
    assert rows(project, "--since", "HEAD") == {}
    copy_environment(project, "young")
    spec.write_text(text + 'labels = { team = "b" }\n')
    assert rows(project, "--since", "HEAD") == {"demo": "changed", "young": "new"}
    project.configure(compression="zstd", **_mirrors(project))
    assert rows(project, "--since", "HEAD") == {"demo": "changed", "young": "new"}
    error = matrix(project, "--since", "nonesuch", code=1)["errors"][0]
    assert error["code"] == "git.commit"
    project.write("envs/bad.toml", "python = 3\n")
    document = matrix(project, "--since", "HEAD", code=1)
    assert [e["environment"] for e in document["errors"]] == ["bad"]


def _mirrors(project: Project) -> dict[str, object]:
    import tomli

    settings = tomli.loads((project.root / "pyproject.toml").read_text())["tool"]["envbuild"]
    return {"mirrors": settings["mirrors"]}


def test_the_past_is_read_below_the_folder_of_the_repository(tmp_path: Path) -> None:
    root = tmp_path / "mono" / "sub dir"
    project = Project(root=root, cache=tmp_path / "cache")
    project.write("envs/a.toml", "old\n")
    project.write("src/x.py", "1\n")
    project.write("../outside.txt", "1\n")
    subprocess.run(["git", "init", "-q", tmp_path / "mono"], check=True)
    git(project, "add", "-A", "..")
    git(project, "commit", "-q", "-m", "first")
    project.write("envs/a.toml", "new\n")
    before = git(project, "status", "--porcelain")
    with open_commit(root, "HEAD") as past:
        past.bring(["envs", "nonesuch"])
        files = [p for p in past.root.rglob("*") if p.is_file()]
        assert [p.relative_to(past.root).as_posix() for p in files] == ["envs/a.toml"]
        assert files[0].read_text() == "old\n"
        past.bring(["."])
        assert (past.root / "src/x.py").is_file()
        assert not (past.root.parent / "outside.txt").exists()
    assert not past.root.exists()
    assert git(project, "status", "--porcelain") == before


def test_outputs_for_github_and_a_pipeline_for_gitlab(
    image_project: Project, tmp_path: Path
) -> None:
    project = image_project
    commit(project)
    outputs = tmp_path / "outputs"
    project.variables["GITHUB_OUTPUT"] = str(outputs)
    assert matrix(project, "--since", "HEAD", "--github") == {"include": []}
    assert outputs.read_text() == 'matrix={"include": []}\nhas-work=false\n'
    copy_environment(project, "young")
    document = matrix(project, "--since", "HEAD", "--github", "--runner", "linux-64=big")
    assert document["include"][0]["runner"] == "big"
    lines = outputs.read_text().splitlines()[2:]
    assert lines == [f"matrix={json.dumps(document)}", "has-work=true"]
    done = subprocess.run(
        [sys.executable, "-m", "envbuild", "ci-matrix", "--since", "HEAD", "--gitlab"],
        cwd=project.root, env=project.environment, text=True, capture_output=True, check=True,
    )  # fmt: skip
    pipeline = yaml.safe_load(done.stdout)
    assert pipeline["include"] == [{"local": ".gitlab/environments.yml"}]
    job = pipeline["young (linux-64)"]
    assert job["extends"] == ".environment"
    assert job["variables"]["NAMES"] == "young"
    del project.variables["GITHUB_OUTPUT"]
    project.variables["GITHUB_OUTPUT"] = ""
    error = matrix(project, "--since", "HEAD", "--github", code=1)["errors"][0]
    assert error["code"] == "session.no-output"


def test_each_platform_has_a_job_of_its_own(image_project: Project) -> None:
    project = image_project
    spec = project.root / "envs/demo.toml"
    one = spec.read_text()
    project.write("envs/base.toml", 'python = "3.11.*"\n')
    project.must("-s", "lock")
    commit(project)
    spec.write_text(one.replace('["linux-64"]', '["linux-64", "linux-aarch64"]') + SMOKE)
    project.must("-s", "lock", "--", "demo")
    copy_environment(project, "twin")
    project.write("envs/lone.toml", one + SMOKE)
    project.must("-s", "lock", "--", "lone")
    since = ("--since", "HEAD")
    (both, _) = matrix(project, *since)["include"]
    assert (both["names"], both["platform"]) == ("demo twin", "linux-64 linux-aarch64")
    jobs = matrix(project, *since, "--per-platform", "--runner", "linux-aarch64=big")["include"]
    assert [(job["platform"], job["runner"], job["names"], job["smoke"]) for job in jobs] == [
        # On one platform, an image of two is the same as that of the environment for it alone.
        ("linux-64", "ubuntu-24.04", "demo lone twin", "demo lone twin"),
        ("linux-aarch64", "big", "demo twin", "demo twin"),
    ]
    assert {job["reference"] for job in jobs} == {both["reference"]}
    done = subprocess.run(
        [sys.executable, "-m", "envbuild", "ci-matrix", *since, "--per-platform", "--gitlab"],
        cwd=project.root, env=project.environment, text=True, capture_output=True, check=True,
    )  # fmt: skip
    pipeline = yaml.safe_load(done.stdout)
    assert set(pipeline) == {"include", "demo (linux-64)", "demo (linux-aarch64)"}
    assert pipeline["demo (linux-aarch64)"]["variables"]["PLATFORM"] == "linux-aarch64"


@pytest.mark.registry
def test_fifty_environments_are_asked_for_in_a_moment(
    image_project: Project, registry: RunningRegistry
) -> None:
    project = image_project
    project.variables["ENVBUILD_REPOSITORY"] = f"{registry.host}/fifty"
    for number in range(49):
        copy_environment(project, f"e{number}")
        spec = project.root / f"envs/e{number}.toml"
        spec.write_text(spec.read_text() + f'labels = {{ team = "{number}" }}\n')
    commit(project)
    assert len(matrix(project)["include"]) == 50
    start = time.monotonic()
    assert len(matrix(project, "--since", "HEAD")["include"]) == 50
    took = time.monotonic() - start
    print(f"{took:.2f} s")
    assert took < 20  # a second on an idle machine
