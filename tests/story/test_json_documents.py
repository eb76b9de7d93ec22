"""The table of JSON documents in `docs/ci.md` has every session, and every key that it prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from envbuild.sessions.table import SESSIONS
from envbuild.workspace.kernels import Kernel, write_kernel
from tests.rig.documents import find_undocumented, read_rows
from tests.rig.pip_index import PipIndex
from tests.rig.project import Project
from tests.story.test_ci_output import call


def test_every_session_has_a_row() -> None:
    assert {call.split()[0] for call in read_rows()} == set(SESSIONS)


def test_every_key_is_documented(
    image_project: Project, pip_index: PipIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    write_kernel(
        Kernel(
            name="envbuild-demo", display_name="Demo", environment="demo", target="docker",
            what="sha256:0", root=str(image_project.root),
        ),
        command=("true",), folder=tmp_path / "jupyter" / "kernels",
    )  # fmt: skip
    pip_index.add("acme", "1.1")
    missing: dict[str, set[str]] = {}
    for words in (
        "envs", "lock --upgrade", "check", "build-env demo --plan", "build-env demo", "show demo",
        "explain demo demo", "rebase demo", "add demo acme<2", "remove demo greet",
        "local-env demo", "local-env demo --check", "kernel --list", "kernel --remove",
        "doctor disk", "scaffold new", "init",
    ):  # fmt: skip
        done = call(image_project, *words.split(), "--json")
        assert done.returncode == 0, done.stderr
        session = words.split()[0]
        option = re.search(r"--(?:plan|check|list|remove)", words)
        row = f"{session} {option[0]}" if option else session
        missing[words] = find_undocumented(row, json.loads(done.stdout))
    assert not {words: keys for words, keys in missing.items() if keys}
