"""README's first command, in a clean copy of the repository, once and once more."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuild.engine.client import Engine
from envbuild.kit.places import Cache
from tests.rig.need import missing

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files that git would give to somebody who clones, and this Python as its `.venv`."""
    folder = tmp_path / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        missing("git's list of files", "run the tests in a clone")
    for name in listed.stdout.decode().split("\0"):
        source = ROOT / name
        if name and source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def quickstart(clone: Path, cache: Cache, engine: Engine) -> Iterator[list[str]]:
    """The command; whatever it started is stopped afterwards."""
    command = ["sh", "examples/quickstart.sh"]
    yield command
    subprocess.run([*command, "stop"], cwd=clone, check=True)


@pytest.mark.engine
@pytest.mark.registry
@pytest.mark.network
def test_quickstart_trains_and_serves_and_then_has_nothing_to_do(
    clone: Path, cache: Cache, quickstart: list[str]
) -> None:
    environment = dict(os.environ) | {
        "ENVBUILD_CACHE": str(cache.root),
        "REGISTRY_PORT": str(_free_port()),
        "QUICKSTART_PYTHON_READY": "1",
    }

    def run() -> str:
        done = subprocess.run(
            quickstart, cwd=clone, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    first = run()
    assert "lock is up to date" in first, "the lock that is committed is not fresh"
    assert "pushed" in first
    assert "accuracy on 45 others" in first
    assert "FAILED" not in first
    (model,) = clone.glob(".envbuild/runs/*/outputs/model.joblib")
    assert model.stat().st_size > 0

    second = run()
    assert "registry has it" in second
    assert second.count("nothing to do") == 2
    assert list(clone.glob(".envbuild/runs/*/outputs/model.joblib")) == [model]
