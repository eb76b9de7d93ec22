"""What a container shall be, and what it turned out to be: plain facts without the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envbuild.engine.leftovers import OWNER_LABEL
from envbuild.engine.owner import find_owner

__all__ = ["ContainerPlan", "ContainerState", "Limits", "Stopped", "render_creation"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a container may use; None: as much as there is."""

    cpus: float | None = None
    memory_bytes: int | None = None
    shm_bytes: int | None = None
    gpus: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerPlan:
    """One container.

    `image` is the image ID to run, `command` the whole command (the image's entry point isn't
    used). `port` is published on this machine's loopback at `host_port` (None: a free one), and
    each of `ports` at its own number. `mounts` maps absolute paths in the container to folders of
    the engine's machine. `init` puts a small process 1 in front that passes signals on. With
    `read_only`, only the folders in `writable` can be written; they vanish with the container.
    """

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    user: str | None = None
    limits: Limits = field(default_factory=Limits)
    network: str = "bridge"
    port: int | None = None
    host_port: int | None = None
    ports: tuple[int, ...] = ()
    mounts: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    init: bool = True
    read_only: bool = False
    writable: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerState:
    """How a container is; `exit_code` is None while it runs and before it started."""

    status: str
    exit_code: int | None
    out_of_memory: bool
    error: str

    @property
    def is_running(self) -> bool:
        return self.status in {"running", "paused", "restarting"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """How a container took SIGTERM: after how long it ended, with which code, or if by force."""

    seconds: float
    exit_code: int
    killed: bool


def render_creation(plan: ContainerPlan) -> dict[str, Any]:
    """Return the body of the engine's `POST /containers/create` (API 1.40)."""
    head, *rest = plan.command
    body: dict[str, Any] = {
        "Image": plan.image,
        "Entrypoint": [head],
        "Cmd": rest,
        "Env": [f"{name}={value}" for name, value in plan.environment.items()],
        "Labels": {**plan.labels, OWNER_LABEL: find_owner()},
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": _host_config(plan),
    }
    if plan.workdir:
        body["WorkingDir"] = plan.workdir
    if plan.user:
        body["User"] = plan.user
    if bindings := _publish(plan):
        body["ExposedPorts"] = {key: {} for key in bindings}
        body["HostConfig"]["PortBindings"] = bindings
    return body


def _publish(plan: ContainerPlan) -> dict[str, list[dict[str, str]]]:
    """Return the container's ports, each with its place on this machine's loopback."""
    places = {port: str(port) for port in plan.ports}
    if plan.port is not None:
        places[plan.port] = "" if plan.host_port is None else str(plan.host_port)
    return {
        f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": place}]
        for port, place in places.items()
    }


def _host_config(plan: ContainerPlan) -> dict[str, Any]:
    limits = plan.limits
    config: dict[str, Any] = {
        "NetworkMode": plan.network,
        "Init": plan.init,
        "ReadonlyRootfs": plan.read_only,
        "Mounts": [
            *({"Type": "volume", "Target": folder} for folder in plan.writable),
            *({"Type": "bind", "Source": s, "Target": t} for t, s in plan.mounts.items()),
        ],
        "RestartPolicy": {"Name": "no"},
    }
    if limits.cpus is not None:
        config["NanoCpus"] = round(limits.cpus * 1e9)
    if limits.memory_bytes is not None:
        # The same amount for memory and swap: what is over the limit is killed, not swapped.
        config["Memory"] = config["MemorySwap"] = limits.memory_bytes
    if limits.shm_bytes is not None:
        config["ShmSize"] = limits.shm_bytes
    if limits.gpus:
        config["DeviceRequests"] = [{"Count": limits.gpus, "Capabilities": [["gpu"]]}]
    return config
