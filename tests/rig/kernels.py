"""A real Jupyter client that starts a kernel by its kernelspec and talks to it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from envbuild.identity.recipe import Base, ImageSettings, Recipe
from envbuild.image.plan import ImagePlan
from envbuild.spec.model import EnvSpec

__all__ = ["Session", "ask", "open_kernel", "plan_kernel_image"]


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
