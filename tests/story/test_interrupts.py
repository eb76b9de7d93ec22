"""Ctrl-C: every session ends at once, says so in a line, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time

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


def test_ctrl_c_does_not_wait_for_a_registry_that_is_silent(
    project: Project, faulty_registry: FaultyRegistry
) -> None:
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
        os.kill(run.pid, signal.SIGINT)
        said, _ = run.communicate(timeout=40)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 130, said
    assert "Traceback" not in said
    assert not (project.root / "lockfiles").exists()
