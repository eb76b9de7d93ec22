"""Environments that ask for the same are solved once; each gets what it would get alone."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.rig.conda_channel import CondaChannel
from tests.rig.pip_index import PipIndex
from tests.rig.project import Project

SPEC = """\
platforms = ["linux-64", "linux-aarch64"]
python = "3.11.*"
[conda]
dependencies = [{conda}]
[pip]
dependencies = [{pip}]
index-url = "{index}"
[image]
base = "scratch"
labels = {{ who = "{name}" }}
"""

# Every Python that starts writes what it is to do; `-P` and `-m` don't keep it from that.
SPY = """\
import os, sys
with open({log!r}, "a") as file:
    file.write(repr(sys.orig_argv) + "\\n")
"""
RESOLVERS = ("conda_lock", "conda_front", "conda_names", "piptools")


class Bench:
    """A repository with a few environments, and a count of what resolves them."""

    def __init__(self, project: Project, index: PipIndex, folder: Path) -> None:
        self.project, self.index, self.folder = project, index, folder
        self.log = folder / "spy" / "log"

    def write(self, name: str, conda: str = '"numpy", "greet"', pip: str = '"acme"') -> None:
        text = SPEC.format(name=name, conda=conda, pip=pip, index=self.index.url)
        self.project.write(f"envs/{name}.toml", text)

    def start_to_count(self) -> None:
        self.log.parent.mkdir(exist_ok=True)
        (self.log.parent / "sitecustomize.py").write_text(SPY.format(log=str(self.log)))
        self.log.write_text("")
        self.index.requests.clear()
        self.project.variables["PYTHONPATH"] = str(self.log.parent)

    def count(self) -> Mapping[str, int]:
        """Return how often each resolver was started, and how often acme's page was asked for."""
        lines = self.log.read_text().splitlines()
        found = Counter(name for line in lines for name in RESOLVERS if name in line)
        found["pages"] = sum(path == "/simple/acme/" for _, path in self.index.requests)
        return found

    def read(self, name: str) -> Mapping[str, bytes]:
        folder = self.project.root / "lockfiles" / name
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def alone(self, name: str) -> Bench:
        """Return a copy with an empty cache in which `name` alone has been locked from here on."""
        copy = self.project.copy(self.folder / f"alone-{name}")
        bench = Bench(copy, self.index, self.folder / f"alone-{name}")
        bench.start_to_count()
        copy.must("-s", "lock", "--", name)
        return bench


@pytest.fixture
def bench(
    project: Project, conda_channel: CondaChannel, pip_index: PipIndex, tmp_path: Path
) -> Bench:
    project.configure(mirrors={k: list(v) for k, v in conda_channel.mirrors.items()})
    pip_index.add("acme", "1.0", "helper")
    pip_index.add("helper", "2.0")
    pip_index.add("other", "1.0")
    made = Bench(project, pip_index, tmp_path)
    made.write("one")
    made.write("two")
    made.write("three", conda='"greet", "numpy"')
    return made


def test_what_is_asked_alike_is_solved_once(bench: Bench) -> None:
    bench.write("other", pip='"acme", "other"')
    alone = {name: bench.alone(name) for name in ("two", "other")}
    bench.start_to_count()
    bench.project.must("-s", "lock", "--", "one", "two", "three")
    assert bench.count() == alone["two"].count()
    assert bench.count()["conda_lock"] == bench.count()["piptools"] == 1
    bench.project.must("-s", "lock")
    for name, single in alone.items():
        assert bench.read(name) == single.read(name), name


def test_other_pins_are_another_request(bench: Bench) -> None:
    bench.project.must("-s", "lock")
    bench.index.add("acme", "1.1", "helper")
    bench.project.must("-s", "lock", "--", "one", "--upgrade-package", "acme")
    for name in ("one", "two", "three"):
        bench.write(name, pip='"acme", "other"')
    alone = bench.alone("three")
    bench.start_to_count()
    bench.project.must("-s", "lock")
    assert bench.count()["piptools"] == 2
    assert bench.count()["conda_lock"] == 0
    assert bench.read("three") == alone.read("three")
    assert b"acme==1.1" in bench.read("one")["requirements.linux-64.txt"]
    assert b"acme==1.0" in bench.read("two")["requirements.linux-64.txt"]


@pytest.mark.parametrize(
    ("wish", "solver", "hint"),
    [
        ({"conda": '"numpy >=99"'}, "conda_lock", "in `envs/{name}.toml`"),
        ({"pip": '"acme>=99"'}, "piptools", "then run `nox -s lock -- {name}`"),
    ],
    ids=["conda", "pip"],
)
def test_a_failure_is_told_to_each_in_its_own_name(
    bench: Bench, wish: dict[str, str], solver: str, hint: str
) -> None:
    names = ("one", "two", "three")
    for name in names:
        bench.write(name, **wish)
    bench.start_to_count()
    text = bench.project.refused("lock.unsatisfiable", "-s", "lock")
    assert bench.count()[solver] == (2 if solver == "conda_lock" else 1)  # one for each platform
    assert text.count("[lock.unsatisfiable]") >= len(names)
    assert "\0" not in text
    for name in names:
        assert f"`{name}` asks for" in text
        assert hint.format(name=name) in text
    assert not (bench.project.root / "lockfiles").exists()


def test_ctrl_c_ends_the_solve_and_all_who_wait_for_it(bench: Bench) -> None:
    project = bench.project
    project.must("-s", "lock")
    for name in ("one", "two", "three"):
        bench.write(name, pip='"acme", "other"')
    before = project.snapshot()
    asked, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        go_on.wait(60)

    bench.index.watch = hold
    try:
        run = subprocess.Popen(
            project.command("-s", "lock"), cwd=project.root, env=project.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert asked.wait(100)
        time.sleep(1)  # the others are waiting by now
        begin = time.monotonic()
        os.kill(run.pid, signal.SIGINT)
        _, said = run.communicate(timeout=60)
    finally:
        go_on.set()
    assert run.returncode != 0
    assert time.monotonic() - begin < 20
    assert "Traceback" not in said
    assert project.snapshot() == before
    assert list((project.cache / "locking").rglob("*.part")) == []
