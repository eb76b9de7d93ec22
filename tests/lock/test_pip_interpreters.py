"""pip-compile runs under the Python that is locked, where the machine has it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuild.lock.pip_tools import find_interpreter
from tests.rig.pip_bench import MINOR, Bench


def _find_others() -> Iterator[tuple[str, Path]]:
    """Yield minor version and folder of the machine's Pythons that are not the one of the tests."""
    folders = [Path(f) for f in os.environ.get("PATH", "").split(os.pathsep) if f]
    folders += sorted(Path.home().glob(".pyenv/versions/*/bin"))
    for minor in {"3.11", "3.12", "3.13", "3.14"} - {MINOR}:
        for folder in folders:
            command = [str(folder / f"python{minor}"), "-c", "import ssl"]
            if os.access(command[0], os.X_OK) and not subprocess.call(command):
                yield minor, folder


def test_another_python_of_the_machine_is_used(
    pip_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = next(_find_others(), None)
    if found is None:
        pytest.skip("this machine has one Python only, and no package brings a second")
    minor, folder = found
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    pip_bench.index.add("app", "1.0", f"wanted; python_version == '{minor}'",
                        f"unwanted; python_version == '{MINOR}'")  # fmt: skip
    pip_bench.index.add("wanted", "1.0", tag=f"cp{minor.replace('.', '')}-none-any")
    pip_bench.index.add("unwanted", "1.0")
    solution = pip_bench.resolve("app", python=minor, resolver="pip-tools")
    assert [wheel.name for wheel in solution.wheels] == ["app", "wanted"]
    assert "pip-tools" in solution.tools
    assert pip_bench.heard.notes == []


def test_a_shim_that_starts_nothing_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_interpreter("3.99") is None
