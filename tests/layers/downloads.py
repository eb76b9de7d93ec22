"""Real wheels for tests, from the index that pip uses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from envbuild.kit.files import atomic_folder, exclusive
from tests.rig.need import missing

__all__ = ["download_wheels"]


def download_wheels(
    factory: pytest.TempPathFactory, name: str, requirements: Sequence[str]
) -> tuple[Path, ...]:
    """Return one wheel for each requirement, downloaded once for all of pytest-xdist's workers."""
    base = factory.getbasetemp()
    # pytest-xdist's workers have a folder each, below one that they share.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / name
    with exclusive(shared / f"{name}.lock"):
        if not folder.is_dir():
            with atomic_folder(folder) as target:
                _download(target, requirements)
    return tuple(sorted(folder.glob("*.whl")))


def _download(target: Path, requirements: Sequence[str]) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(target), *requirements]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        missing("the wheels of this test", f"pip must reach an index: {ended.stderr.strip()}")
