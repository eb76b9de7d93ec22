"""A Docker Engine for the tests: the one that answers, or a private one started for this run.

All workers of one pytest run share a private engine. A keeper process starts it, watches the
workers' PIDs and ends it when the last of them is gone, however that came about.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from envbuild.engine.client import Engine, connect_engine
from envbuild.engine.owner import find_owner, is_gone
from envbuild.errors import EngineError
from envbuild.kit.files import exclusive
from tests.rig.need import missing

__all__ = ["EngineRun", "engine", "engine_run"]

_UP_SECONDS = 60.0
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class EngineRun:
    """What the workers of one pytest run share: a mark for names, and a folder."""

    mark: str
    folder: Path


@pytest.fixture(scope="session")
def engine_run(tmp_path_factory: pytest.TempPathFactory) -> EngineRun:
    """The folder that all workers of this pytest run share."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    mark = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")[:12]
    folder = shared / f"engine-{mark}"
    folder.mkdir(exist_ok=True)
    return EngineRun(mark=mark, folder=folder)


@pytest.fixture(scope="session")
def engine(engine_run: EngineRun) -> Iterator[Engine]:
    """A Docker Engine that answers; `DOCKER_HOST` names it for child processes, too."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        try:
            found = connect_engine()
        except EngineError as error:
            address = _start_private_engine(engine_run, error)
            patch.setenv("DOCKER_HOST", address)
            found = connect_engine()
        patch.setenv("DOCKER_HOST", found.address)
        yield stack.enter_context(found)


def _start_private_engine(run: EngineRun, error: EngineError) -> str:
    """Have the keeper run an engine for this process; return its address."""
    if os.geteuid() != 0 or not shutil.which("dockerd") or not shutil.which("iptables"):
        missing(
            "Docker Engine",
            f"{error.message}; install it with `apt-get install docker.io iptables` "
            "(tests that run as root start it themselves)",
        )
    with exclusive(run.folder / "lock"):
        users = run.folder / "users"
        users.mkdir(exist_ok=True)
        (users / str(os.getpid())).write_text(find_owner())
        note = run.folder / "home"
        if not note.exists():
            # Not below pytest's folder: a socket's path holds 107 bytes at most.
            home = Path(tempfile.mkdtemp(prefix="eb-", dir="/tmp"))
            _start_keeper(home, users)
            note.write_text(str(home))
        home = Path(note.read_text())
        return _wait_for_engine(home, run.folder / "dockerd.log")


def _start_keeper(home: Path, users: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "tests.rig.engine", str(home), str(users)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=True,
    )


def _wait_for_engine(home: Path, log: Path) -> str:
    address = f"unix://{home}/docker.sock"
    deadline = time.monotonic() + _UP_SECONDS
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", address)
        while not _answers():
            if time.monotonic() > deadline or not home.exists():
                said = log.read_text(errors="replace") if log.exists() else "(no log)"
                missing("Docker Engine", f"a private one did not come up:\n{said[-4000:]}")
            time.sleep(0.2)
    return address


def _answers() -> bool:
    try:
        connect_engine().close()
    except EngineError:
        return False
    return True


def _keep(home: Path, users: Path) -> None:
    """Run dockerd until no user is left, then remove all of it."""
    bridge = _make_bridge(home)
    command = [
        "dockerd",
        *("--data-root", f"{home}/data", "--exec-root", f"{home}/exec"),
        *("-H", f"unix://{home}/docker.sock", "--pidfile", f"{home}/pid"),
        *bridge,
    ]
    with (users.parent / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            while daemon.poll() is None and _has_users(users):
                time.sleep(_LOOK_SECONDS)
        finally:
            daemon.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(20)
            daemon.kill()
            daemon.wait()
    if bridge:
        subprocess.run(["ip", "link", "delete", bridge[1]], check=False)
    shutil.rmtree(home, ignore_errors=True)


def _make_bridge(home: Path) -> list[str]:
    """Give the engine a bridge of its own where another engine of this network has docker0."""
    if not Path("/sys/class/net/docker0").exists() or not shutil.which("ip"):
        return []
    name = f"eb{os.getpid()}"
    number = os.getpid() % 250 + 1
    for command in (
        ["ip", "link", "add", name, "type", "bridge"],
        ["ip", "addr", "add", f"10.213.{number}.1/24", "dev", name],
        ["ip", "link", "set", name, "up"],
    ):
        subprocess.run(command, check=True)
    return ["--bridge", name]


def _has_users(users: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return any(not is_gone(file.read_text() or "?") for file in users.iterdir())
    return False


if __name__ == "__main__":
    if os.fork():
        os._exit(0)  # whoever called has no child to look after
    _keep(Path(sys.argv[1]), Path(sys.argv[2]))
