"""The engine's commonest refusals to create or start a container, each with its own code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from envbuild.engine.plan import ContainerPlan
from envbuild.errors import EngineError

__all__ = ["explain_creation", "explain_start"]


@contextlib.contextmanager
def explain_creation(plan: ContainerPlan) -> Iterator[None]:
    """Give a missing image its own code: `engine.no-image`."""
    try:
        yield
    except EngineError as error:
        if error.code == "engine.refused" and "no such image" in error.message.lower():
            raise EngineError(
                "engine.no-image",
                f"Docker Engine has no image `{plan.image}`; it may just have been removed",
                hint="start again: the image is loaded anew",
            ) from error
        raise


@contextlib.contextmanager
def explain_start(plan: ContainerPlan) -> Iterator[None]:
    """Give the refusals that a user can mend their own codes; the others stay as they are."""
    try:
        yield
    except EngineError as error:
        if error.code != "engine.refused":
            raise
        raise (_find_reason(error.message, plan) or error) from error


def _find_reason(said: str, plan: ContainerPlan) -> EngineError | None:
    if "could not select device driver" in said:
        return EngineError(
            "engine.no-gpu",
            f"Docker Engine can't give {plan.limits.gpus} GPUs: it has no driver for them",
            hint="install the NVIDIA Container Toolkit there, or set `resources.gpus` to 0",
        )
    if "port is already allocated" in said or "address already in use" in said:
        ports = ", ".join(map(str, plan.ports)) if plan.ports else plan.host_port
        return EngineError(
            "engine.port-taken",
            f"port {ports} of this machine is taken by another program",
            hint="stop that program, then start again",
        )
    if "exec format error" in said:
        return EngineError(
            "engine.wrong-platform",
            f"the image of `{plan.name}` is for another processor than this engine's",
            hint="lock and build for the engine's platform: see `platforms` in the spec",
        )
    if "executable file not found" in said or "no such file or directory" in said:
        return EngineError(
            "engine.no-command",
            f"the image has no program `{plan.command[0]}`",
            hint="check the command, and that its package is among the locked ones",
        )
    return None
