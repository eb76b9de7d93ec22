"""Kernels in real containers, led by a real Jupyter client: as notebooks use them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envbuild.engine.client import Engine
from envbuild.run.kernel import main
from envbuild.workspace.kernels import Kernel, container_command, write_kernel
from tests.rig.image import PYTHON, LoadedImage
from tests.rig.kernels import (
    Session,
    ask,
    interrupt,
    list_containers,
    open_kernel,
    plan_kernel_image,
    restart,
    wait_until_gone,
)

pytestmark = [
    pytest.mark.engine,
    pytest.mark.network,
    # The client's own loop, not ours.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


@pytest.fixture
def kernel(
    engine: Engine, kernel_image: LoadedImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Session]:
    """A started kernel, whose repository has a file and a folder of notebooks."""
    root = tmp_path / "repository"
    (root / "notebooks").mkdir(parents=True)
    (root / "data.txt").write_text("forty-two")
    image = plan_kernel_image(COLOUR="blue $HOME")
    command = container_command(image, root=root, image_id=kernel_image.image_id, python=PYTHON)
    made = Kernel(
        name="lab", display_name="Lab", environment="lab", root=str(root), target="docker",
        what=kernel_image.image_id,
    )  # fmt: skip
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    write_kernel(made, command=command, folder=tmp_path / "jupyter" / "kernels")
    with open_kernel("lab", cwd=root / "notebooks") as session:
        yield session


def test_a_notebook_s_day(engine: Engine, kernel: Session, tmp_path: Path) -> None:
    assert ask(kernel, "6 * 7") == "42"
    assert ask(kernel, "open('../data.txt').read()") == "'forty-two'"
    assert ask(kernel, "import os, sys; os.getcwd(), sys.executable") == (
        f"('/work/notebooks', '{PYTHON}')"
    )
    assert ask(kernel, "os.environ['COLOUR']") == "'blue $HOME'"
    assert ask(kernel, "open('made.txt', 'w').write('by the kernel')") == "13"
    made = tmp_path / "repository/notebooks/made.txt"
    assert (made.read_text(), made.stat().st_uid) == ("by the kernel", os.getuid())
    assert ask(kernel, "input('name? ')", answer="Ada") == "'Ada'"
    # An interrupt ends what runs, and not the kernel.
    assert interrupt(kernel) == "KeyboardInterrupt"
    assert ask(kernel, "os.environ['COLOUR']") == "'blue $HOME'"
    restart(kernel)
    assert len(list_containers(engine, tmp_path)) == 1
    assert ask(kernel, "'os' in globals()") == "False"
    kernel.manager.shutdown_kernel()
    wait_until_gone(engine, tmp_path)


def test_a_kernel_that_dies_ends_all(engine: Engine, kernel: Session, tmp_path: Path) -> None:
    assert len(list_containers(engine, tmp_path)) == 1
    kernel.client.execute("import os; os._exit(3)")
    wait_until_gone(engine, tmp_path)
    deadline = time.monotonic() + 30
    while kernel.manager.is_alive() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not kernel.manager.is_alive()


def test_a_client_that_kills_leaves_no_container(
    engine: Engine, kernel: Session, tmp_path: Path
) -> None:
    assert len(list_containers(engine, tmp_path)) == 1
    provisioner: Any = kernel.manager.provisioner
    os.killpg(os.getpgid(provisioner.pid), signal.SIGKILL)
    wait_until_gone(engine, tmp_path)


def test_an_image_that_is_gone_is_told_with_the_way_out(
    engine: Engine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "connection.json"
    ports = '"shell_port":1,"iopub_port":2,"stdin_port":3,"control_port":4,"hb_port":5'
    file.write_text("{" + ports + "}")
    gone = "sha256:" + "0" * 64
    words = ["--image", gone, "--python", PYTHON, "--root", str(tmp_path)]
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        assert main([*words, "--environment", "lab", str(file)]) == 1
        assert "nox -s kernel -- lab" in capfd.readouterr().err
        file.write_text('{"transport": "ipc",' + ports + "}")
        assert main([*words, "--environment", "lab", str(file)]) == 1
        assert "[kernel.connection]" in capfd.readouterr().err
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert not list_containers(engine, tmp_path)
