"""The hooks, by the real pre-commit in repositories of their own: what is committed counts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.rig.pip_index import PipIndex
from tests.rig.project import Project
from tests.rig.sources import run_git

pytestmark = pytest.mark.network  # pre-commit installs the hooks' dependencies

ROOT = Path(__file__).parents[2]
TOOL = Path(sys.executable).with_name("pre-commit")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hooks:
    """A repository with this checkout's files, and where pre-commit keeps its environments."""

    repository: Path
    revision: str
    home: Path


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Hooks:
    """The hooks as they are in this checkout, committed or not."""
    folder = tmp_path_factory.mktemp("hooks")
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            place = folder / "envbuild" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place)
    run_git(folder / "envbuild", "init", "-q")
    run_git(folder / "envbuild", "add", "-A")
    run_git(folder / "envbuild", "commit", "-q", "-m", "as it is")
    revision = run_git(folder / "envbuild", "rev-parse", "HEAD").strip()
    return Hooks(repository=folder / "envbuild", revision=revision, home=folder / "home")


@dataclass(kw_only=True)
class Committer:
    """Somebody who commits in a repository whose hooks are installed."""

    project: Project

    def git(self, *words: str) -> subprocess.CompletedProcess[str]:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        return subprocess.run(
            ["git", *identity, *words], cwd=self.project.root, env=self.project.environment,
            text=True, capture_output=True, check=False,
        )  # fmt: skip

    def add(self, *paths: str) -> None:
        done = self.git("add", "-A", "--", *paths)
        assert done.returncode == 0, done.stderr

    def commits(self) -> str:
        done = self.git("commit", "-m", "change")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def refused(self, text: str) -> str:
        done = self.git("commit", "-m", "change")
        said = done.stdout + done.stderr
        assert done.returncode == 1, said
        assert text in said, said
        assert "Traceback" not in said, said
        return said


def use(project: Project, hooks: Hooks, *ids: str) -> Committer:
    project.variables["PRE_COMMIT_HOME"] = str(hooks.home)
    own = {"repo": str(hooks.repository), "rev": hooks.revision, "hooks": [{"id": i} for i in ids]}
    project.write(".pre-commit-config.yaml", yaml.safe_dump({"repos": [own]}))
    project.write(".gitignore", ".envbuild/\n")
    run_git(project.root, "init", "-q", "-b", "main")
    subprocess.run(
        [TOOL, "install"], cwd=project.root, env=project.environment, check=True,
        capture_output=True,
    )  # fmt: skip
    return Committer(project=project)


def test_the_check_judges_what_is_committed(image_project: Project, hooks: Hooks) -> None:
    ada = use(image_project, hooks, "envbuild-check")
    spec = image_project.root / "envs/demo.toml"
    lock = image_project.root / "lockfiles/demo/envbuild.lock"
    text, locked = spec.read_text(), lock.read_bytes()
    stale = text.replace('["acme"]', '["acme>=1"]')
    assert stale != text

    ada.add("envs", "pyproject.toml", ".gitignore", ".pre-commit-config.yaml", "noxfile.py")
    ada.refused("[lock.untracked]")  # it is on disk, and nobody added it
    ada.add("lockfiles")
    assert "Passed" in ada.commits()

    spec.write_text(stale)
    ada.add("envs")
    said = ada.refused("[lock.stale]")
    assert "nox -s lock -- demo" in said
    spec.write_text(text)  # the work tree is right, what is staged is not
    ada.refused("[lock.stale]")
    spec.write_text("# words\n" + text)
    ada.add("envs")
    spec.write_text(stale)  # what is staged is right, the work tree is not
    assert "Passed" in ada.commits()
    assert spec.read_text() == stale

    image_project.write("envs/other.toml", text)  # not locked, and not in the commit
    spec.write_text("# other words\n" + text)
    ada.add("envs/demo.toml")
    assert "Passed" in ada.commits()
    image_project.write("README.md", "words\n")
    ada.add("README.md")
    assert "Skipped" in ada.commits()
    (image_project.root / "envs/other.toml").unlink()

    lock.write_bytes(locked.replace(b"request", b"requested", 1))  # a commit of a lockfile alone
    ada.add("lockfiles")
    ada.refused("[lock.")
    lock.write_bytes(locked)
    ada.add("lockfiles")

    ada.git("mv", "envs/demo.toml", "envs/renamed.toml")
    ada.refused("[lock.missing]")
    ada.git("mv", "lockfiles/demo", "lockfiles/renamed")
    assert "Passed" in ada.commits()
    ada.git("rm", "-q", "envs/renamed.toml")
    image_project.write("lockfiles/renamed/note.txt", "kept\n")
    ada.add("lockfiles")
    ada.refused("[spec.missing]")
    ada.git("rm", "-rqf", "lockfiles/renamed")
    ada.commits()


def test_the_lock_hook_rewrites_what_is_then_added(
    image_project: Project, hooks: Hooks, pip_index: PipIndex
) -> None:
    ada = use(image_project, hooks, "envbuild-lock", "envbuild-check")
    ada.add(".")
    ada.commits()
    pip_index.add("extra", "1.0")
    spec = image_project.root / "envs/demo.toml"
    spec.write_text(spec.read_text().replace('["acme"]', '["acme", "extra"]'))
    ada.add("envs")
    said = ada.refused("files were modified by this hook")
    assert "extra (pip)" in said
    ada.add("lockfiles")
    ada.commits()
    image_project.write("envs/second.toml", spec.read_text())
    ada.add("envs")
    assert "git add lockfiles/second" in ada.refused("[lock.untracked]")
    ada.add("lockfiles")
    ada.commits()
    assert ada.git("status", "--porcelain").stdout == ""


def test_the_check_of_a_commit_imports_little(image_project: Project) -> None:
    image_project.variables["PYTHONPROFILEIMPORTTIME"] = "1"
    run_git(image_project.root, "init", "-q")
    run_git(image_project.root, "add", "-A")
    done = subprocess.run(
        [sys.executable, "-m", "envbuild", "check", "--files", "envs/demo.toml", "README.md"],
        cwd=image_project.root, env=image_project.environment, text=True, capture_output=True,
        check=True,
    )  # fmt: skip
    assert done.stdout == "1 lockfile is up to date\n"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    heavy = {"nox", "conda_lock", "piptools", "rattler", "docker", "urllib3", "rich", "yaml"}
    assert imported & heavy == set()


def test_children_of_a_spec_are_checked_with_it(project: Project) -> None:
    project.write("envs/parent.toml", 'python = "3.11.*"\n')
    project.write("envs/child.toml", 'extends = "parent"\n')
    project.write("envs/grandchild.toml", 'extends = "child"\n')
    project.write("envs/stranger.toml", 'python = "3.11.*"\n')
    done = subprocess.run(
        [sys.executable, "-m", "envbuild", "check", "--json", "--files", "envs/parent.toml"],
        cwd=project.root, env=project.environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert {"child", "grandchild", "parent"} == set(yaml.safe_load(done.stdout)["done"])


def test_the_hooks_are_well_formed_and_used_here() -> None:
    subprocess.run([TOOL, "validate-manifest", ROOT / ".pre-commit-hooks.yaml"], check=True)
    subprocess.run([TOOL, "validate-config", ROOT / ".pre-commit-config.yaml"], check=True)
    (check, _) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    own = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {hook["id"] for hook in own} > {"schema", "reference", "specs"}
    used = next(hook for hook in own if hook["id"] == check["id"])
    assert used["files"] == check["files"]
    assert used["entry"].endswith(check["entry"])


@pytest.fixture
def checkout(tmp_path: Path, hooks: Hooks) -> Committer:
    """Somebody who works on envbuild itself, with this checkout's tools."""
    root = tmp_path / "envbuild"
    run_git(tmp_path, "clone", "-q", str(hooks.repository), str(root))
    (root / ".venv").symlink_to(ROOT / ".venv")
    project = Project(root=root, cache=tmp_path / "cache")
    # The tools' envbuild is the one of this folder; nothing of the network may be needed.
    project.variables |= {
        "PRE_COMMIT_HOME": str(tmp_path / "home"), "PYTHONPATH": str(root),
        "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9",
    }  # fmt: skip
    subprocess.run(
        [TOOL, "install"], cwd=root, env=project.environment, check=True, capture_output=True
    )
    ada = Committer(project=project)
    project.variables["SKIP"] = "ruff,ruff-format,mypy,import-rules,envbuild-check"
    return ada


def test_a_commit_here_has_the_schema_of_the_types_and_specs_that_satisfy_it(
    checkout: Committer,
) -> None:
    root = checkout.project.root
    done = subprocess.run(
        [TOOL, "run", "--all-files"], cwd=root, env=checkout.project.environment,
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Passed") == 3

    for spec in ("envs/iris.toml", "envbuild/curated/envbuild-minimal.toml"):
        file = root / spec
        text = file.read_text()
        file.write_text(text.replace("platforms = [", "platfroms = ["))
        checkout.add(spec)
        assert spec in checkout.refused("specs satisfy the schema.")
        file.write_text(text)
        checkout.add(spec)

    model = root / "envbuild/spec/model.py"
    schema = root / "envbuild/spec/envbuild.schema.json"
    model.write_text(model.read_text().replace("One line for people.", "One line for humans."))
    checkout.add(".")
    checkout.refused("files were modified by this hook")
    assert "One line for humans." in schema.read_text()
    assert "One line for humans." in (root / "docs/spec.md").read_text()
    checkout.add(".")
    checkout.commits()
