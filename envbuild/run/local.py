"""Run a training script without a container, with the Python of a prefix on this machine.

The script works in a copy of the snapshot inside of its run's folder, in a process group of its
own and with a mark in its environment, so that all that it starts ends with it. Limits of
memory and processors don't hold here.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envbuild.engine.family import MARK, end_family
from envbuild.engine.guard import Guard, start_guard
from envbuild.engine.logs import LineSink, LogPump
from envbuild.engine.outputs import Collected
from envbuild.errors import RunError
from envbuild.run.collect import collect_outputs, move_output
from envbuild.run.plan import TrainPlan
from envbuild.run.record import RunRecord
from envbuild.run.recorder import Outcome, Run, judge, run_recorded
from envbuild.run.snapshot import copy_snapshot
from envbuild.run.variables import expand_variables, make_prefix_environment

__all__ = ["train_local"]

GRACE_SECONDS: Final = 10.0
_HASTE_SECONDS: Final = 2.0
_SLICE_SECONDS: Final = 1.0
_POLL_MS: Final = 200
_REST: Final = 1 << 20
"""Bytes that are read at most once the script has ended: more than a pipe holds."""


def train_local(
    plan: TrainPlan, *, prefix: Path, runs: Path, sink: LineSink | None = None
) -> RunRecord:
    """Run `plan` with `prefix/bin/python` and return its record.

    Raises `RunError` `run.no-python`, `run.variable` and `run.source-changed`; `KeyboardInterrupt`
    after Ctrl-C, when all is cleaned up.
    """
    python = _find_python(prefix)
    expand_variables(plan.variables)  # what is missing is told before anything is recorded
    command = (str(python), plan.script, *plan.arguments)

    def execute(run: Run) -> Outcome:
        if _has_limits(plan):
            note = "limits of memory, processors and GPUs don't hold without a container"
            run.update(notes=(*run.record.notes, note))
        work = run.folder.work
        guard = start_guard(run_id=run.record.id, on_loss=run.on_loss)
        try:
            work.mkdir()
            copy_snapshot(plan.snapshot, work)
            return _execute(plan, run, guard, _start(plan, run, command, prefix), sink)
        finally:
            end_family(run.record.id)
            shutil.rmtree(work, ignore_errors=True)
            guard.dismiss()

    return run_recorded(plan, execute, runs=runs.resolve(), target="local", command=command)


def _find_python(prefix: Path) -> Path:
    for name in ("python", "python3"):
        path = prefix.resolve() / "bin" / name
        if os.access(path, os.X_OK):
            return path
    raise RunError(
        "run.no-python",
        f"there is no Python in `{prefix}`",
        hint="delete the folder and start again: it is made anew",
    )


def _has_limits(plan: TrainPlan) -> bool:
    limits = plan.limits
    return bool(limits.cpus or limits.memory_bytes or limits.shm_bytes or limits.gpus)


class _Pipe:
    """A child's output as a `LogStream`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._stopped = threading.Event()

    def __iter__(self) -> Iterator[tuple[bytes | None, bytes | None]]:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        left = _REST
        while left > 0:
            stopped = self._stopped.is_set()
            if poll.poll(0 if stopped else _POLL_MS):
                if not (data := os.read(self._descriptor, 1 << 16)):
                    return
                left -= len(data) if stopped else 0
                yield data, None
            elif stopped:
                return

    def stop(self) -> None:
        """End with what is in the pipe by now, should a stranger hold it open."""
        self._stopped.set()

    def close(self) -> None:
        """Nothing: the descriptor is closed with the child."""


def _start(
    plan: TrainPlan, run: Run, command: tuple[str, ...], prefix: Path
) -> subprocess.Popen[bytes]:
    run.mark_running()
    return subprocess.Popen(
        command,
        cwd=run.folder.work,
        env={**make_prefix_environment(prefix, plan.variables), MARK: run.record.id},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        bufsize=0,
    )


def _execute(
    plan: TrainPlan,
    run: Run,
    guard: Guard,
    process: subprocess.Popen[bytes],
    sink: LineSink | None,
) -> Outcome:
    with process:
        try:
            guard.watch(process.pid)
            outcome = _wait(plan, run, process, sink)
        finally:
            _end_group(process, grace=0)

    def fetch(output: str, target: Path) -> Collected:
        return move_output(run.folder.work, output, target)

    return collect_outputs(plan.outputs, run.folder, outcome, fetch)


def _wait(
    plan: TrainPlan, run: Run, process: subprocess.Popen[bytes], sink: LineSink | None
) -> Outcome:
    pipe = _Pipe(process.stdout.fileno() if process.stdout is not None else -1)
    pump = LogPump(pipe, log=run.folder.log_file, sink=sink)
    pump.start()
    timed_out = interrupted = False
    try:
        timed_out = not _wait_until(process, plan.max_seconds, pump)
        if timed_out:
            _end_group(process, grace=GRACE_SECONDS)
    except KeyboardInterrupt:
        interrupted = True
        _end_group(process, grace=_HASTE_SECONDS)
    # Children that the script left behind would go on, and hold the pipe open.
    _end_group(process, grace=0)
    end_family(run.record.id)
    pipe.stop()
    pump.finish()
    if pump.error is not None:
        raise pump.error
    returned = process.wait()
    code = returned if returned >= 0 else 128 - returned
    return judge(plan, code, timed_out=timed_out, interrupted=interrupted)


def _wait_until(process: subprocess.Popen[bytes], seconds: float | None, pump: LogPump) -> bool:
    """Wait for the child; False if it still runs after `seconds`."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        left = _SLICE_SECONDS if deadline is None else deadline - time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.01, min(_SLICE_SECONDS, left)))
            return True
        if pump.error is not None:
            raise pump.error
        if deadline is not None and time.monotonic() >= deadline:
            return False


def _end_group(process: subprocess.Popen[bytes], *, grace: float) -> None:
    """End the child's process group: SIGTERM and `grace` seconds first, then SIGKILL."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if grace:
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace)
        os.killpg(process.pid, signal.SIGKILL)
    if grace:
        process.wait()
