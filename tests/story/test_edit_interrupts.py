"""Ctrl-C and SIGTERM while files take their places: all of them do, whichever was the last."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.rig.conda_channel import CondaChannel
from tests.rig.pip_index import PipIndex
from tests.rig.project import Outcome, Project

INJECTION = """\
import os, pathlib, signal, sys, time

if "envbuild" in sys.orig_argv:
    place, count, number, seen = os.environ["PLACE"], int(os.environ["COUNT"]), 0, 0
    replace = os.replace

    def watched(source, target, **options):
        global seen
        replace(source, target, **options)
        if "/.envbuild/" in str(target) or not str(target).startswith(place):
            return
        seen += 1
        if seen == count:
            for _ in range(2):  # whoever is impatient
                os.kill(os.getpid(), int(os.environ["SIGNAL"]))
                time.sleep(0.2)

    os.replace = watched
    pathlib.Path.replace = lambda self, target: (watched(self, target), type(self)(target))[1]
"""
"""Sends signals right after the file number `COUNT` below `PLACE` has taken its place."""

SPEC = """\
platforms = ["linux-64", "linux-aarch64"]
python = "3.11.*"
image.base = "scratch"
conda = {{ channels = ["{channel}"] }}

[pip]
index-url = '{index}'
dependencies = ["tool"]
"""

ADD = ("add", "demo", "--pip", "extra")
FILES = 4
"""Requirements for two platforms, the lock, and the spec."""


@pytest.fixture(scope="module")
def locked(
    tmp_path_factory: pytest.TempPathFactory, conda_channel: CondaChannel
) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("interrupts")
    made = Project(root=folder / "repository", cache=folder / "cache")
    (folder / "sitecustomize.py").write_text(INJECTION)
    made.variables["PYTHONPATH"] = str(folder)
    with PipIndex() as index:
        index.add("tool", "1.0")
        index.add("extra", "1.0")
        made.write("envs/demo.toml", SPEC.format(index=index.url, channel=conda_channel.url))
        assert run(made, "lock").code == 0
        yield made


def run(project: Project, *words: str, count: int = 0, number: str = "2") -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", "envbuild", *words], cwd=project.root, text=True,
        env=project.environment
        | {"PLACE": str(project.root), "COUNT": str(count), "SIGNAL": number},
        capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    return Outcome(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def copy(project: Project, root: Path) -> Project:
    shutil.copytree(project.root, root)
    return Project(root=root, cache=project.cache, variables=project.variables)


def read_all(project: Project) -> Mapping[str, bytes]:
    root = project.root
    return {
        str(p.relative_to(root)): p.read_bytes()
        for folder in ("envs", "lockfiles", ".envbuild/edits")
        for p in (root / folder).rglob("*")
        if p.is_file()
    }


@pytest.mark.parametrize("number", ["2", "15"])
def test_an_edit_is_done_once_its_files_take_their_places(
    locked: Project, tmp_path: Path, number: str
) -> None:
    wanted = copy(locked, tmp_path / "wanted")
    assert run(wanted, *ADD, count=FILES + 1).code == 0  # that there are no more files
    for count in range(1, FILES + 1):
        mine = copy(locked, tmp_path / str(count))
        said = run(mine, *ADD, count=count, number=number)
        assert said.code == 130, said.text
        assert "Traceback" not in said.text
        assert "nothing was changed" not in said.text
        assert "files were changed before the end" in said.text
        assert read_all(mine) == read_all(wanted), f"after file {count}"


@pytest.mark.parametrize("number", ["2", "15"])
def test_a_lock_is_whole(locked: Project, tmp_path: Path, number: str) -> None:
    """It is written in another thread than the one that hears of signals."""
    stale = copy(locked, tmp_path / "stale")
    assert run(stale, *ADD, "--no-lock").code == 0
    wanted = copy(stale, tmp_path / "wanted")
    assert run(wanted, "lock", count=FILES).code == 0
    for count in range(1, FILES):
        mine = copy(stale, tmp_path / str(count))
        said = run(mine, "lock", count=count, number=number)
        assert said.code == 130, said.text
        assert "Traceback" not in said.text
        assert read_all(mine) == read_all(wanted), f"after file {count}"
