"""A real Jupyter client that starts a kernel by its kernelspec and talks to it."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from envbuild.engine.client import Engine
from envbuild.engine.leftovers import RUN_LABEL
from envbuild.identity.recipe import Base, ImageSettings, Recipe
from envbuild.image.plan import ImagePlan
from envbuild.spec.model import EnvSpec

__all__ = [
    "Session", "ask", "interrupt", "list_containers", "open_kernel", "plan_kernel_image", "restart",
    "wait_until_gone",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Session:
    """A kernel's manager and a client that is connected to it."""

    manager: KernelManager
    client: BlockingKernelClient
    cwd: Path


def plan_kernel_image(**variables: str) -> ImagePlan:
    """Return the plan of an environment `lab` with these variables."""
    recipe = Recipe(
        platform="linux-64", base=Base(kind="scratch"), artifacts=(), prefix="/opt/env",
        python_minor="3.11", interpreter="", settings=ImageSettings(user="root", labels={}),
    )  # fmt: skip
    return ImagePlan(
        name="lab", spec=EnvSpec(python="3.11.*", env=variables), recipe=recipe, digest="sha256:d",
        reference="lab:1", own_reference="lab:1",
    )  # fmt: skip


@contextlib.contextmanager
def open_kernel(name: str, *, cwd: Path) -> Iterator[Session]:
    """Start the kernel `name` as a notebook in `cwd` would; it is shut down at the end."""
    manager = KernelManager(kernel_name=name)
    manager.start_kernel(cwd=str(cwd))
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=120)
        yield Session(manager=manager, client=client, cwd=cwd)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def ask(session: Session, code: str, *, answer: str | None = None) -> str:
    """Execute `code`; return the `repr` of its last expression. `answer` is typed when asked."""
    said = io.StringIO()

    def hear(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["header"]["msg_type"] == "execute_result":
            said.write(content["data"]["text/plain"])
        elif message["header"]["msg_type"] == "error":
            said.write(str(content))

    session.client.execute_interactive(
        code, timeout=60, allow_stdin=answer is not None, output_hook=hear,
        stdin_hook=lambda _: session.client.input(answer or ""),
    )  # fmt: skip
    return said.getvalue()


def interrupt(session: Session) -> str:
    """Interrupt a cell that would take ten minutes; return the name of the error that ends it."""
    # An error drops the cells that wait behind it, on a busy machine also one that is sent later.
    session.client.execute("import time; time.sleep(600)", stop_on_error=False)
    time.sleep(1)
    session.manager.interrupt_kernel()
    return str(session.client.get_shell_msg(timeout=60)["content"]["ename"])


def restart(session: Session) -> None:
    """Restart the kernel as a notebook does, and wait until it answers."""
    session.manager.restart_kernel(now=False)
    session.client.wait_for_ready(timeout=120)


def list_containers(engine: Engine, folder: Path) -> list[str]:
    """Return the containers that see something below `folder`; others may have kernels, too."""
    found = engine.client.containers.list(
        all=True, ignore_removed=True, filters={"label": RUN_LABEL}
    )
    return [
        str(c.name)
        for c in found
        if any(mount["Source"].startswith(f"{folder}/") for mount in c.attrs["Mounts"])
    ]


def wait_until_gone(engine: Engine, folder: Path) -> None:
    """Wait until no such container is left: after a kill by the client, its guard removes it."""
    deadline = time.monotonic() + 60
    while list_containers(engine, folder):
        assert time.monotonic() < deadline, "the container is still there"
        time.sleep(0.1)
