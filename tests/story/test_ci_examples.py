"""The files of `examples/ci`: right by the official schemas, and their steps do what they say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from envbuild.engine.client import Engine
from tests.rig.conda_channel import CondaChannel
from tests.rig.need import missing
from tests.rig.pip_index import PipIndex
from tests.rig.project import Project
from tests.rig.registry import LockedRegistry, RunningRegistry
from tests.rig.sources import run_git
from tests.rig.workflow import Runner, list_scripts
from tests.story.test_conda_story import SERVE, SPEC

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / "examples/ci/github"
GITLAB = ROOT / "examples/ci/gitlab"
FILES = sorted([*GITHUB.glob("*.yml"), *GITLAB.glob("*.yml"), GITLAB / ".gitlab-ci.yml"])


def check_schema(schema: str, *files: Path) -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    transform = ["--data-transform", "gitlab-ci"] if schema == "gitlab-ci" else []
    done = subprocess.run(
        [tool, "--builtin-schema", f"vendor.{schema}", *transform, *files],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_files_are_right_by_the_official_schema(file: Path) -> None:
    check_schema("github-workflows" if file.parent == GITHUB else "gitlab-ci", file)
    for script in list_scripts(file):
        subprocess.run(["bash", "-n", "-c", script], check=True)


def test_a_linter_finds_nothing_in_the_workflows(tmp_path: Path) -> None:
    """zizmor: logins that stay in a checkout, too wide permissions, injected texts, and more."""
    tool = Path(sys.executable).with_name("zizmor")
    if not tool.exists():
        missing("zizmor", "install the dependency group `dev`")
    rules = {
        # A copy is to be read; whoever wants to pins the actions to commits, by a tool of theirs.
        "unpinned-uses": {"config": {"policies": {"*": "ref-pin"}}},
        "artipacked": {"ignore": ["refresh.yml"]},  # it pushes a branch
    }
    (tmp_path / "zizmor.yml").write_text(yaml.safe_dump({"rules": rules}))
    command: list[str | Path]
    command = [tool, "--offline", "--no-progress", "--config", tmp_path / "zizmor.yml"]
    command += GITHUB.glob("*.yml")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def commit(project: Project, folder: Path) -> Path:
    """Commit everything, on a branch that a remote of the test's own has; return the remote."""
    project.write(".gitignore", ".envbuild/\nmoved.md\nenvironments.yml\n")
    remote = folder / "remote.git"
    run_git(folder, "init", "-q", "--bare", str(remote))
    run_git(remote, "config", "receive.advertisePushOptions", "true")
    run_git(project.root, "init", "-q", "-b", "main")
    run_git(project.root, "add", "-A")
    run_git(project.root, "commit", "-q", "-m", "first")
    run_git(project.root, "remote", "add", "origin", str(remote))
    run_git(project.root, "push", "-q", "origin", "main")
    return remote


def on_github(project: Project, folder: Path, event: str = "push") -> Runner:
    since = "github.event_name == 'pull_request' && format('origin/{0}', github.base_ref) || ''"
    return Runner(
        project=project, folder=folder,
        expressions={
            "github.event_name": event, "secrets.ENVBUILD_LAYER_KEY": "a secret of the test",
            "secrets.GITHUB_TOKEN": "",
            since: "origin/main" if event == "pull_request" else "",
        },
    )  # fmt: skip


@pytest.mark.engine
@pytest.mark.registry
@pytest.mark.network
def test_github_pushes_what_passed_and_then_has_no_work(
    project: Project, conda_channel: CondaChannel, registry: RunningRegistry, engine: Engine,
    tmp_path: Path,
) -> None:  # fmt: skip
    project.configure(mirrors={k: list(v) for k, v in conda_channel.mirrors.items()})
    models = 'models = ["outputs/model.npy"]\n'
    project.write("envs/story.toml", SPEC.replace(models, ""))
    good = "\n".join(
        "model = numpy.full(3, 2.0)" if line.startswith("model = ") else line
        for line in SERVE.splitlines()
    )
    project.write("src/serve.py", good.replace("numpy.dot(model", "-numpy.dot(model"))
    project.must("-s", "lock")
    commit(project, tmp_path)
    runner = on_github(project, tmp_path)
    runner.variables["ENVBUILD_REPOSITORY"] = f"{registry.host}/examples"
    file = GITHUB / "environments.yml"

    _, outputs = runner.run_github(file, "plan")
    assert outputs["has-work"] == "true", runner.last
    (row,) = json.loads(outputs["matrix"])["include"]
    done, _ = runner.run_github(file, "build", row)
    assert done == ["Install envbuild", "Build"]  # the service answers wrongly: nothing is pushed
    assert "[smoke.failed]" in runner.last.stderr
    assert not (registry.root / "storage/docker/registry/v2/repositories/examples/story").exists()

    project.write("src/serve.py", good)
    pull = on_github(project, tmp_path, "pull_request")
    pull.variables |= runner.variables
    done, _ = pull.run_github(file, "build", row)
    assert done == ["Install envbuild", "Build", "Test the services"], pull.last
    done, _ = runner.run_github(file, "build", row)
    assert done[-1] == "Push what passed", runner.last
    _, outputs = runner.run_github(file, "plan")
    assert outputs == {"matrix": '{"include": []}', "has-work": "false"}
    _, outputs = pull.run_github(file, "plan")
    assert outputs["has-work"] == "false", pull.last


def test_github_stops_at_a_stale_lock(image_project: Project, tmp_path: Path) -> None:
    spec = image_project.root / "envs/demo.toml"
    spec.write_text(spec.read_text().replace('["acme"]', '["acme>=1"]'))
    runner = on_github(image_project, tmp_path)
    done, outputs = runner.run_github(GITHUB / "environments.yml", "plan")
    assert (done, outputs) == (["Install envbuild"], {})
    assert "::error file=envs/demo.toml,title=lock.stale::" in runner.last.stderr


@pytest.mark.registry
def test_gitlab_logs_in_and_runs_the_child_pipeline(
    image_project: Project, registry_auth: LockedRegistry, tmp_path: Path
) -> None:
    shutil.copy(registry_auth.ca, image_project.root / "ca.pem")
    settings = image_project.root / "pyproject.toml"
    table = f'[tool.envbuild.registries."{registry_auth.host}"]\nca = "ca.pem"\n'
    settings.write_text(settings.read_text() + table)
    commit(image_project, tmp_path)
    runner = Runner(
        project=image_project, folder=tmp_path,
        variables={
            "CI_REGISTRY": registry_auth.host, "CI_REGISTRY_IMAGE": f"{registry_auth.host}/team",
            "CI_REGISTRY_USER": registry_auth.user, "CI_REGISTRY_PASSWORD": registry_auth.password,
            "CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main",
        },
    )  # fmt: skip
    pipeline = yaml.safe_load((GITLAB / ".gitlab-ci.yml").read_text())
    template = yaml.safe_load((GITLAB / "environments.yml").read_text())[".environment"]

    def plan() -> dict[str, Any]:
        ended = runner.run_gitlab(pipeline["plan"], pipeline["variables"])
        assert ended.code == 0, ended.text
        child = image_project.root / "environments.yml"
        check_schema("gitlab-ci", child)
        found: dict[str, Any] = yaml.safe_load(child.read_text())
        return found

    job = plan()["demo (linux-64)"]
    variables = {**template["variables"], **job["variables"]}
    del variables["DOCKER_HOST"]
    ended = runner.run_gitlab({**template, "variables": variables}, {})
    assert ended.code == 0, ended.text
    assert "section_start" in ended.stderr
    assert list(plan()) == ["nothing to do"]


def test_refreshes_push_a_branch_with_the_new_locks(
    image_project: Project, pip_index: PipIndex, tmp_path: Path
) -> None:
    remote = commit(image_project, tmp_path)
    runner = on_github(image_project, tmp_path)
    done, outputs = runner.run_github(GITHUB / "refresh.yml", "refresh")
    assert outputs == {"moved": "false"}, runner.last
    assert done[-1] == "Push a branch"  # and no pull request
    pip_index.add("acme", "1.1")
    done, outputs = runner.run_github(GITHUB / "refresh.yml", "refresh")
    assert outputs == {"moved": "true"}, runner.last
    assert done[-1] == "Push a branch"  # what opens pull requests is GitHub's own program
    place = "envbuild/refresh:lockfiles/demo/requirements.linux-64.txt"
    assert "acme==1.1" in run_git(remote, "show", place)
    assert "| acme (pip) | upgraded |" in (tmp_path / "moved.md").read_text()

    pip_index.add("acme", "1.2")
    gitlab = Runner(project=image_project, folder=tmp_path)
    gitlab.variables |= {
        "REFRESH_REMOTE": str(remote), "CI_DEFAULT_BRANCH": "main", "CI_JOB_URL": "here",
    }  # fmt: skip
    pipeline = yaml.safe_load((GITLAB / ".gitlab-ci.yml").read_text())
    ended = gitlab.run_gitlab(pipeline["refresh"], pipeline["variables"])
    assert ended.code == 0, ended.text
    assert "acme (pip)" in (image_project.root / "moved.md").read_text()
    assert "acme==1.2" in run_git(remote, "show", place)
