"""Ctrl-C and SIGTERM: every session ends at once, says so in a line, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.rig.project import Project
from tests.rig.registry import FaultyRegistry
from tests.rig.scripted import hang

SPEC = """\
platforms = ["linux-64", "linux-aarch64"]
python = "3.11.*"
[image]
base = "{host}/base:1"
interpreter = "/usr/bin/python3"
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_registry_that_is_silent_is_not_waited_for(
    project: Project, faulty_registry: FaultyRegistry, tmp_path: Path, number: signal.Signals
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    project.variables["TMPDIR"] = str(scratch)
    for method in ("GET", "HEAD"):
        faulty_registry.script(method, "/", hang, forever=True)
    project.write("envs/slow.toml", SPEC.format(host=faulty_registry.host))
    run = subprocess.Popen(
        project.command("-s", "lock", "--", "slow"), cwd=project.root, env=project.environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not faulty_registry.seen and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(run.pid, number)
        said, _ = run.communicate(timeout=40)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 130, said
    assert "Traceback" not in said
    assert not (project.root / "lockfiles").exists()
    assert list(scratch.iterdir()) == []
