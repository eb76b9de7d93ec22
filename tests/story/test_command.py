"""The sessions without Nox, by the command `envbuild`: the same words, the same exit codes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

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


STOPPED = """\
import os, sys
from envbuild.sessions.command import main

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == MODULE:
            os.kill(os.getpid(), NUMBER)

sys.meta_path.insert(0, Stop())
sys.exit(main(["check"]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "module", ["envbuild.sessions.dispatch", "envbuild.sessions.guard", "tomli"]
)
def test_an_interruption_while_modules_are_loaded_is_one_line(
    project: Project, number: signal.Signals, module: str
) -> None:
    project.write("envs/cpu.toml", 'python = "3.11.*"\n')
    code = STOPPED.replace("MODULE", repr(module)).replace("NUMBER", str(int(number)))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.root, env=project.environment, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
