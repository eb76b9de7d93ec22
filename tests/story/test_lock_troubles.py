"""What befalls a lock while it is made: others, a Ctrl-C, releases that are gone."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.rig.pip_index import PipIndex
from tests.rig.project import Project


def _start(project: Project, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        project.command("-s", "lock", "--", *words), cwd=project.root, env=project.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def _pins(project: Project) -> str:
    return (project.root / "lockfiles/demo/requirements.linux-64.txt").read_text()


def _ask_for(project: Project, *requirements: str) -> None:
    spec = project.root / "envs/demo.toml"
    asked = ", ".join(f'"{requirement}"' for requirement in requirements)
    spec.write_text(spec.read_text().replace('["acme"]', f"[{asked}]"))


def _left_over(project: Project) -> list[Path]:
    places = (project.root / "lockfiles", project.cache / "locking")
    return [path for place in places for path in place.rglob("*.part")]


def test_two_at_once_make_one_whole_lock(image_project: Project, pip_index: PipIndex) -> None:
    pip_index.add("acme", "1.1")
    both = [_start(image_project, "demo", "--upgrade") for _ in range(2)]
    for run in both:
        _, said = run.communicate(timeout=200)
        assert run.returncode == 0, said
    assert "acme==1.1" in _pins(image_project)
    image_project.must("-s", "check")
    assert _left_over(image_project) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_in_the_middle_of_a_solve_changes_nothing(
    image_project: Project, pip_index: PipIndex, number: signal.Signals
) -> None:
    before = image_project.snapshot()
    asked, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        go_on.wait(60)

    pip_index.watch = hold
    try:
        run = _start(image_project, "demo", "--upgrade")
        assert asked.wait(100)
        os.kill(run.pid, number)
        _, said = run.communicate(timeout=60)
    finally:
        go_on.set()
    assert run.returncode != 0
    assert "Traceback" not in said
    assert image_project.snapshot() == before
    assert _left_over(image_project) == []
    pip_index.watch = lambda: None
    image_project.must("-s", "check")


def test_a_new_package_moves_no_other(image_project: Project, pip_index: PipIndex) -> None:
    pip_index.add("acme", "1.1")
    pip_index.add("other", "1.0", "acme")
    _ask_for(image_project, "acme", "other")
    said = image_project.must("-s", "lock", "--", "demo").stdout
    assert "acme==1.0" in _pins(image_project)
    assert "other==1.0" in _pins(image_project)
    assert "acme" not in said


@pytest.mark.parametrize("resolver", ["pip-tools", "uv"])
def test_a_pin_that_was_deleted_moves_or_is_named(
    image_project: Project, pip_index: PipIndex, resolver: str
) -> None:
    spec = image_project.root / "envs/demo.toml"
    spec.write_text(spec.read_text().replace("[image]", f'resolver = "{resolver}"\n[image]'))
    image_project.must("-s", "lock", "--", "demo")
    (old,) = pip_index.files["acme"].values()
    pip_index.remove(old)
    pip_index.add("other", "1.0")
    _ask_for(image_project, "acme", "other")
    before = image_project.snapshot()
    text = image_project.refused("lock.unsatisfiable", "-s", "lock", "--", "demo")
    assert "acme" in text
    assert image_project.snapshot() == before
    pip_index.add("acme", "0.9")
    said = image_project.must("-s", "lock", "--", "demo").stdout
    assert "downgraded" in said
    assert "acme==0.9" in _pins(image_project)


@pytest.mark.parametrize("resolver", ["pip-tools", "uv"])
def test_a_pin_that_was_yanked_is_left(
    image_project: Project, pip_index: PipIndex, resolver: str
) -> None:
    """A yanked release is for those who have it pinned (PEP 592); an upgrade leaves it."""
    spec = image_project.root / "envs/demo.toml"
    spec.write_text(spec.read_text().replace("[image]", f'resolver = "{resolver}"\n[image]'))
    image_project.must("-s", "lock", "--", "demo")
    (old,) = pip_index.files["acme"].values()
    pip_index.files["acme"][old.filename] = replace(old, yanked=True)
    pip_index.add("acme", "0.9")
    image_project.must("-s", "lock", "--", "demo", "--upgrade")
    assert "acme==0.9" in _pins(image_project)


def test_wheels_for_another_python_only_are_no_answer(
    image_project: Project, pip_index: PipIndex
) -> None:
    pip_index.add("other", "1.0", tag="cp310-cp310-manylinux2014_x86_64")
    pip_index.add("newer", "1.0", requires_python=">=3.13")
    for name in ("other", "newer"):
        before = image_project.snapshot()
        text = image_project.root / "envs/demo.toml"
        plain = text.read_text()
        _ask_for(image_project, "acme", name)
        said = image_project.nox("-s", "lock", "--", "demo")
        assert said.code == 1
        assert name in said.text
        assert "[lock." in said.text
        assert "Traceback" not in said.text
        assert image_project.snapshot() == before
        text.write_text(plain)
