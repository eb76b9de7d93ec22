"""One container from creation to removal: files in, log out, limits, outputs, nothing left.

There are no bind mounts: files travel through the engine's archive calls, so everything works
the same with a remote or a rootless engine.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from envbuild.engine.archive import Upload, render_tar
from envbuild.engine.attach import AttachStream
from envbuild.engine.client import Engine, explained
from envbuild.engine.guard import start_guard
from envbuild.engine.leftovers import remove_container
from envbuild.engine.logs import LineSink, LogPump
from envbuild.engine.outputs import Collected, fetch_output, read_small_file
from envbuild.engine.plan import ContainerPlan, ContainerState, Stopped, render_creation
from envbuild.engine.refusals import explain_creation, explain_start
from envbuild.engine.users import find_ids
from envbuild.errors import EngineError

__all__ = ["Container", "open_container"]

_SLICE_SECONDS: Final = 2.0
_KILL_SECONDS: Final = 60.0


class Container:
    """A container that exists; `open_container` gives one."""

    def __init__(self, engine: Engine, plan: ContainerPlan, identifier: str) -> None:
        self.engine = engine
        self.plan = plan
        self.id = identifier
        self._pump: LogPump | None = None

    def put(self, uploads: Iterable[Upload]) -> None:
        """Put files into the container; `owned` ones belong to the user that it runs as.

        Parents must come before what is in them. Raises `EngineError` `engine.no-user` and
        whatever an upload's `read` raises.
        """
        uid, gid = self._ids()
        with self._explained("take the files"):
            self.engine.client.api.put_archive(self.id, "/", render_tar(uploads, uid=uid, gid=gid))

    def start(self, *, log: Path | None = None, sink: LineSink | None = None) -> None:
        """Start it; its output goes to the file `log` and line by line to `sink` (in a thread).

        Raises `EngineError`: `engine.no-gpu`, `engine.port-taken`, `engine.no-command`,
        `engine.wrong-platform`, `engine.refused`.
        """
        with self._explained("attach to the container"):
            stream = AttachStream(self.engine, self.id)
        self._pump = LogPump(stream, log=log, sink=sink)
        self._pump.start()
        try:
            with explain_start(self.plan), self._explained("start the container"):
                self.engine.client.api.start(self.id)
        except BaseException:
            self._pump.close()
            raise

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end and return the exit code; None if it still runs after `timeout` s."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _SLICE_SECONDS if deadline is None else deadline - time.monotonic()
            if (code := self._wait_slice(max(0.05, min(_SLICE_SECONDS, left)))) is not None:
                return code
            if self._pump is not None and self._pump.error is not None:
                raise self._pump.error
            if deadline is not None and time.monotonic() >= deadline:
                return None

    def _wait_slice(self, seconds: float) -> int | None:
        """Wait in short calls: a lost connection is noticed, and so is a log that can't be kept."""
        from requests.exceptions import ConnectionError as Broken
        from requests.exceptions import ReadTimeout

        with self._explained("wait for the container"):
            try:
                # requests takes fractions of a second, only the stubs don't know.
                answer = self.engine.client.api.wait(self.id, timeout=seconds)  # type: ignore[arg-type]
            except ReadTimeout:
                return None
            except Broken as error:
                if "timed out" in str(error):
                    return None
                raise
        return int(answer["StatusCode"])

    def finish_log(self) -> None:
        """Wait until all of the output was handed on; raise what went wrong with it."""
        if self._pump is not None:
            self._pump.finish()
            if self._pump.error is not None:
                raise self._pump.error

    def state(self) -> ContainerState:
        """Return how it is now. Raises `engine.container-gone` if somebody removed it."""
        state = self._inspect()["State"]
        running = state["Status"] in {"created", "running", "paused", "restarting"}
        return ContainerState(
            status=state["Status"],
            exit_code=None if running else int(state["ExitCode"]),
            out_of_memory=bool(state.get("OOMKilled")),
            error=str(state.get("Error") or ""),
        )

    def find_port(self) -> int | None:
        """Return this machine's port for `plan.port`; None if the container doesn't run."""
        ports = self._inspect()["NetworkSettings"]["Ports"] or {}
        bindings = ports.get(f"{self.plan.port}/tcp")
        return int(bindings[0]["HostPort"]) if bindings else None

    def send_signal(self, name: str) -> None:
        """Send a signal such as `SIGTERM`; nothing happens if it doesn't run any more."""
        from docker.errors import APIError

        with self._explained(f"send {name}"):
            try:
                self.engine.client.api.kill(self.id, name)
            except APIError as error:
                if error.status_code != 409 and "is not running" not in str(error.explanation):
                    raise

    def stop(self, *, grace: float) -> Stopped:
        """Send SIGTERM, wait up to `grace` seconds, then kill; say how it went."""
        begin = time.monotonic()
        self.send_signal("SIGTERM")
        code = self.wait(grace)
        killed = code is None
        if code is None:
            self.send_signal("SIGKILL")
            code = self.wait(_KILL_SECONDS)
        if code is None:
            raise EngineError(
                "engine.refused", f"Docker Engine can't end container `{self.plan.name}`"
            )
        return Stopped(seconds=time.monotonic() - begin, exit_code=code, killed=killed)

    def collect(self, path: str, target: Path) -> Collected:
        """Fetch the file or folder `path` (absolute) as `target`, whole or not at all."""
        with self._explained(f"hand out `{path}`"):
            return fetch_output(self.engine.client, self.id, path, target)

    def close(self) -> None:
        """Remove the container, running or not, with all that is in it."""
        if self._pump is not None:
            self._pump.close()
        remove_container(self.engine, self.id)

    def _ids(self) -> tuple[int, int]:
        user = self.plan.user
        if user is None:
            user = str(self._inspect()["Config"].get("User") or "")
        with self._explained("hand out the image's users"):
            return find_ids(user, lambda path: read_small_file(self.engine.client, self.id, path))

    def _inspect(self) -> dict[str, Any]:
        with self._explained("describe the container"):
            found: dict[str, Any] = self.engine.client.api.inspect_container(self.id)
        return found

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        from docker.errors import NotFound

        with explained(doing, address=self.engine.address):
            try:
                yield
            except NotFound as error:
                if "No such container" not in str(error.explanation):
                    raise
                raise EngineError(
                    "engine.container-gone",
                    f"container `{self.plan.name}` was removed by somebody else",
                ) from error


@contextlib.contextmanager
def open_container(
    engine: Engine, plan: ContainerPlan, *, on_loss: Sequence[str] = ()
) -> Iterator[Container]:
    """Create a container for the block and remove it afterwards, whatever happens.

    If this process is killed, a guard removes it and then runs the command `on_loss`. Raises
    `EngineError`: `engine.no-image`, `engine.refused` (the daemon's own words), `engine.lost`.
    """
    guard = start_guard(container=plan.name, environment=engine.pinned, on_loss=on_loss)
    leave: Callable[[], None] = guard.call
    try:
        try:
            container = Container(engine, plan, _create(engine, plan))
        except EngineError as error:
            if error.code != "engine.lost":
                leave = guard.dismiss
            raise
        try:
            yield container
        finally:
            container.close()
            leave = guard.dismiss
    finally:
        leave()


def _create(engine: Engine, plan: ContainerPlan) -> str:
    with explain_creation(plan), explained("create the container", address=engine.address):
        api: Any = engine.client.api
        made = api.create_container_from_config(render_creation(plan), plan.name)
    return str(made["Id"])
