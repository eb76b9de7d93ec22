"""The sessions without Nox, by the command `envbuild`: the same words, the same exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from envbuild.sessions.table import SESSIONS
from envbuild.workspace.workspace import find_root
from tests.rig.project import Project


def call(project: Project, *words: str, folder: str = ".") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "envbuild", *words],
        cwd=project.root / folder, env=project.environment, text=True, capture_output=True,
        check=False,
    )  # fmt: skip


def test_help_lists_every_session(project: Project) -> None:
    done = call(project, "--help")
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in SESSIONS)


def test_unknown_session_is_named_with_the_nearest(project: Project) -> None:
    done = call(project, "chek")
    assert done.returncode == 3
    assert "did you mean `envbuild check`?" in done.stderr


def test_a_failure_is_said_as_in_nox(project: Project) -> None:
    project.write("envs/cpu.toml", 'python = "3.11.*"\n')
    done = call(project, "check", "cpu")
    assert done.returncode == 1
    assert "[lock.missing]" in done.stderr
    assert "[lock.missing]" in project.nox("-s", "check", "--", "cpu").text


def test_root_is_found_from_below(project: Project) -> None:
    project.write("envs/cpu.toml", 'python = "3.11"\nunknown = 1\n')
    project.write("src/deep/x.py", "")
    assert "[spec.invalid]" in call(project, "check", folder="src/deep").stderr
    assert find_root(Path("/nonexistent/folder")) == Path("/nonexistent/folder")


def test_no_nox_is_imported(project: Project) -> None:
    code = (
        "import sys; from envbuild.sessions.command import main; main(['check', '--help']);"
        "sys.exit('nox' in sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code], cwd=project.root, env=project.environment, check=True
    )
