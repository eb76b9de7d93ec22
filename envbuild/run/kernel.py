"""A Jupyter kernel in a container: what a kernelspec starts, and what ends with it.

A Jupyter client writes a connection file, starts this as a child and talks to the ports in that
file. They are published on this machine's loopback; in the container the kernel listens to all
addresses, since loopback there is its own. Interrupts come as messages, so nothing else has to
reach the kernel. The container goes when the kernel ends, when the client ends this process, when
the client is gone, and (by a guard) when this process is killed.

Run as `python -m envbuild.run.kernel OPTIONS CONNECTION_FILE`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from envbuild.engine.archive import Upload
from envbuild.engine.client import Engine, connect_engine
from envbuild.engine.container import Container, open_container
from envbuild.engine.leftovers import RUN_LABEL
from envbuild.engine.plan import ContainerPlan, Limits
from envbuild.errors import EnvbuildError, RunError
from envbuild.run.variables import expand_variables, read_variables

__all__ = ["WORK", "main", "plan_kernel"]

WORK: Final = "/work"
"""Where the repository is in the container."""
_HOME: Final = "/envbuild-kernel"
"""Home of the kernel, for its user need not have one in the image; holds the connection file."""
_CONNECTION: Final = f"{_HOME}/connection.json"
_PORTS: Final = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
_LOOK_SECONDS: Final = 2.0


def main(words: Sequence[str] | None = None) -> int:
    """Run the kernel to its end and return its exit code."""
    arguments = _parse(words)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    parent = os.getppid()
    try:
        connection = _read_connection(arguments.connection)
        with connect_engine() as engine:
            plan = plan_kernel(
                connection, image=arguments.image, python=arguments.python, root=arguments.root,
                folder=Path.cwd(), environment=arguments.environment, gpus=arguments.gpus,
                variables=expand_variables(read_variables(arguments.env)),
                user=_find_user(engine),
            )  # fmt: skip
            with open_container(engine, plan) as container:
                return _run(container, connection, parent)
    except EnvbuildError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        if error.code == "engine.no-image":
            again = f"`nox -s kernel -- {arguments.environment}`"
            print(f"to have it made and loaded again, run {again}", file=sys.stderr, flush=True)
        return 1


def plan_kernel(
    connection: Mapping[str, Any],
    *,
    image: str,
    python: str,
    root: Path,
    folder: Path,
    environment: str,
    variables: Mapping[str, str],
    user: str,
    gpus: int = 0,
) -> ContainerPlan:
    """Return the container of a kernel with the repository `root` at `/work`.

    It works in `folder` if that is in the repository, as a notebook's is, else in `/work` itself.
    """
    below = folder.resolve()
    inside = below.is_relative_to(root.resolve())
    workdir = Path(WORK, below.relative_to(root.resolve()) if inside else "")
    name = f"envbuild-kernel-{uuid.uuid4().hex[:12]}"
    return ContainerPlan(
        name=name,
        image=image,
        command=(python, "-m", "ipykernel_launcher", "-f", _CONNECTION),
        environment={**variables, "HOME": _HOME, "PYTHONUNBUFFERED": "1"},
        workdir=str(workdir),
        user=user,
        limits=Limits(gpus=gpus),
        ports=tuple(connection[port] for port in _PORTS),
        mounts={WORK: str(root.resolve())},
        labels={RUN_LABEL: name, "envbuild.environment": environment},
    )


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m envbuild.run.kernel", allow_abbrev=False)
    parser.add_argument("--image", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--root", required=True, type=Path)
    parser.add_argument("--environment", required=True)
    parser.add_argument("--env", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("connection", type=Path)
    return parser.parse_args(words)


def _leave(_number: int, _frame: object) -> NoReturn:
    """End by an exception, so that the container is removed on the way."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(0)


def _read_connection(file: Path) -> dict[str, Any]:
    try:
        connection: dict[str, Any] = json.loads(file.read_bytes())
        ports = [connection[port] for port in _PORTS]
        usable = connection.get("transport", "tcp") == "tcp" and all(
            isinstance(port, int) for port in ports
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            "kernel.connection", f"`{file}` is not a connection file of a Jupyter client"
        ) from error
    if not usable:
        raise RunError(
            "kernel.connection",
            f"`{file}` asks for another transport than TCP, which does not reach a container",
            hint="start the client with its default transport",
        )
    return connection


def _find_user(engine: Engine) -> str:
    """Return whom files in the repository belong to, as the engine counts users."""
    options = engine.client.info().get("SecurityOptions") or ()
    rootless = any("rootless" in option for option in options)
    return "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"


def _run(container: Container, connection: Mapping[str, Any], parent: int) -> int:
    data = json.dumps({**connection, "ip": "0.0.0.0"}).encode()  # noqa: S104 - published on loopback
    container.put(
        [
            Upload(path=_HOME, mode=0o700),
            Upload(path=_CONNECTION, mode=0o600, size=len(data), read=lambda: iter([data])),
        ]
    )
    container.start(sink=_write)
    while os.getppid() == parent:
        if (code := container.wait(_LOOK_SECONDS)) is not None:
            container.finish_log()
            return code
    return 0


def _write(line: bytes) -> None:
    sys.stderr.buffer.write(line)
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
