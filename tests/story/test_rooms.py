"""The rooms import one way only, and the versions agree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import tomli

import envbuild

ROOT = Path(__file__).parents[2]


def test_import_rules_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_versions_agree() -> None:
    project = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == envbuild.__version__
