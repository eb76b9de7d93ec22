"""What a killed process leaves behind is cleaned up: at once by its guard, or by the next one."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envbuild.engine.client import Engine
from envbuild.engine.guard import start_guard
from envbuild.engine.leftovers import OWNER_LABEL, reap_leftovers, remove_container
from envbuild.engine.owner import find_owner
from tests.engine.conftest import PlanPython
from tests.rig.image import PYTHON, LoadedImage

ROOT = Path(__file__).parents[2]

LEAD = """
import json, os, sys, time
from envbuild.engine.client import connect_engine
from envbuild.engine.container import open_container
from envbuild.engine.plan import ContainerPlan

name, image, python, mark = sys.argv[1:5]
plan = ContainerPlan(
    name=name, image=image, network="none",
    command=(python, "-c", "import time; time.sleep(600)"),
)
touch = (sys.executable, "-c", f"open({mark!r}, 'w').write('lost')")
with connect_engine() as engine, open_container(engine, plan, on_loss=touch) as container:
    container.start()
    print("started", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def lead(
    engine: Engine, python_image: LoadedImage, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """A process that runs a container; its name and the file that the guard makes in the end."""
    name = f"envbuild-test-{secrets.token_hex(6)}"
    mark = tmp_path / "lost"
    command = [sys.executable, "-c", LEAD, name, python_image.image_id, PYTHON, str(mark)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            yield process, name, mark
        finally:
            process.kill()
            process.wait()
            remove_container(engine, name)


def _wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _is_gone(engine: Engine, name: str) -> bool:
    return not engine.client.containers.list(all=True, filters={"name": f"^/{name}$"})


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_parent_leaves_no_container(
    engine: Engine, lead: tuple[subprocess.Popen[str], str, Path], number: int
) -> None:
    process, name, mark = lead
    assert not _is_gone(engine, name)
    process.send_signal(number)
    process.wait()
    assert _wait_for(mark.exists), "the guard did not run the last command"
    assert _is_gone(engine, name)


@pytest.mark.engine
def test_ctrl_c_leaves_no_container_and_no_guard(
    engine: Engine, lead: tuple[subprocess.Popen[str], str, Path]
) -> None:
    process, name, mark = lead
    process.send_signal(signal.SIGINT)
    process.wait()
    assert _is_gone(engine, name)
    assert not mark.exists()


@pytest.mark.engine
def test_leftover_of_a_dead_process_is_reaped_and_others_stay(
    engine: Engine, python_image: LoadedImage
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        dead = find_owner(child.pid)
        child.kill()
    host = dead.split(":")[0]
    owners = {"dead": dead, "alive": find_owner(), "far": f"far-{host}:{child.pid}:1"}
    names = {kind: f"envbuild-test-{kind}-{secrets.token_hex(6)}" for kind in owners}
    try:
        for kind, owner in owners.items():
            engine.client.api.create_container(
                python_image.image_id, [PYTHON], name=names[kind], labels={OWNER_LABEL: owner}
            )
        assert names["dead"] in reap_leftovers(engine)
        assert [_is_gone(engine, names[kind]) for kind in owners] == [True, False, False]
    finally:
        for name in names.values():
            remove_container(engine, name)


@pytest.mark.engine
def test_container_that_appears_late_is_still_removed(
    engine: Engine, python_image: LoadedImage, tmp_path: Path
) -> None:
    """As when the parent dies while the engine is busy creating it."""
    name = f"envbuild-test-{secrets.token_hex(6)}"
    guard = start_guard(container=name, environment=engine.pinned)
    os.close(guard.pipe)
    time.sleep(1.0)
    engine.client.api.create_container(python_image.image_id, [PYTHON], name=name)
    try:
        guard.process.wait(60)
        assert _is_gone(engine, name)
    finally:
        remove_container(engine, name)


GROUP = """
import os, subprocess, sys, time
from envbuild.engine.guard import start_guard
child = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1]], start_new_session=True, stdout=subprocess.PIPE,
)
child.stdout.readline()
start_guard().watch(child.pid)
forked = os.fork()
if not forked:
    time.sleep(600)  # holds the guard's pipe open
print(child.pid, forked, flush=True)
time.sleep(600)
"""
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
print("up", flush=True)
time.sleep(600)
"""


def _group_is_gone(group: int) -> bool:
    """Tell if no process of the group runs any more (zombies don't run)."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if fields[2] == str(group) and fields[0] not in {"Z", "X"}:
            return False
    return True


def test_killed_parent_leaves_no_process_of_the_group() -> None:
    command = [sys.executable, "-c", GROUP, STUBBORN]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        group, forked = (int(word) for word in process.stdout.readline().split())
        try:
            assert not _group_is_gone(group)
            process.kill()
            process.wait()
            assert _wait_for(lambda: _group_is_gone(group))
        finally:
            os.kill(forked, signal.SIGKILL)
            if not _group_is_gone(group):
                os.killpg(group, signal.SIGKILL)


def test_dismissed_guard_does_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "lost"
    touch = (sys.executable, "-c", f"open({str(mark)!r}, 'w')")
    guard = start_guard(on_loss=touch)
    guard.dismiss()
    assert guard.process.returncode == 0
    assert not mark.exists()


def test_called_guard_works_at_once(tmp_path: Path) -> None:
    mark = tmp_path / "lost"
    touch = (sys.executable, "-c", f"open({str(mark)!r}, 'w')")
    start_guard(on_loss=touch).call()
    assert mark.exists()


def test_guard_is_deaf_to_the_signals_of_a_terminal_and_of_ci(tmp_path: Path) -> None:
    mark = tmp_path / "lost"
    touch = (sys.executable, "-c", f"open({str(mark)!r}, 'w')")
    guard = start_guard(on_loss=touch)
    caught = Path(f"/proc/{guard.process.pid}/status")
    ignored = 1 << (signal.SIGTERM - 1)
    assert _wait_for(lambda: bool(_ignored_signals(caught) & ignored))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        guard.process.send_signal(number)
    guard.call()
    assert mark.exists()


def _ignored_signals(status: Path) -> int:
    (line,) = [x for x in status.read_text().splitlines() if x.startswith("SigIgn:")]
    return int(line.split()[1], 16)


def test_guard_on_watch_has_not_imported_the_sdk() -> None:
    code = (
        "import sys, json; import envbuild.engine.guard; "
        "print(json.dumps([m for m in ('docker', 'requests', 'urllib3') if m in sys.modules]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert json.loads(told) == []


@pytest.mark.engine
def test_two_guards_do_not_know_of_each_other(engine: Engine, plan_python: PlanPython) -> None:
    """Many runs at once: the end of one says nothing to the guard of another."""
    from envbuild.engine.container import open_container

    plan = plan_python("import time; time.sleep(600)")
    with open_container(engine, plan) as container:
        container.start()
        start_guard().dismiss()
        start_guard(container=f"{plan.name}-not").dismiss()
        assert container.state().is_running
