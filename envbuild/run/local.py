"""Run a training script without a container, with the Python of a prefix on this machine.

The script works in a copy of the snapshot inside of its run's folder, in a process group of its
own, so that all of its children end with it. Limits of memory and processors don't hold here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from envbuild.engine.guard import start_guard
from envbuild.engine.logs import LineSink, LogPump
from envbuild.engine.outputs import Collected
from envbuild.errors import RunError
from envbuild.run.collect import collect_outputs
from envbuild.run.plan import TrainPlan
from envbuild.run.record import RunRecord
from envbuild.run.recorder import Outcome, Run, judge, run_recorded
from envbuild.run.snapshot import copy_snapshot

__all__ = ["train_local"]

GRACE_SECONDS: Final = 10.0
_HASTE_SECONDS: Final = 2.0
_SLICE_SECONDS: Final = 1.0


def train_local(
    plan: TrainPlan, *, prefix: Path, runs: Path, sink: LineSink | None = None
) -> RunRecord:
    """Run `plan` with `prefix/bin/python` and return its record.

    Raises `RunError` `run.no-python` and `run.source-changed`; `KeyboardInterrupt` after Ctrl-C,
    when all is cleaned up.
    """
    python = _find_python(prefix)
    command = (str(python), plan.script, *plan.arguments)

    def execute(run: Run) -> Outcome:
        if _has_limits(plan):
            note = "limits of memory, processors and GPUs don't hold without a container"
            run.update(notes=(*run.record.notes, note))
        work = run.folder.work
        work.mkdir()
        try:
            copy_snapshot(plan.snapshot, work)
            return _execute(plan, run, command, prefix, sink)
        finally:
            shutil.rmtree(work, ignore_errors=True)

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


def _environment(plan: TrainPlan, prefix: Path) -> Mapping[str, str]:
    """Return this process's variables without those that lead Python elsewhere."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("PYTHON") and key != "VIRTUAL_ENV"
    }
    search = f"{prefix.resolve() / 'bin'}{os.pathsep}{kept.get('PATH', os.defpath)}"
    ours = {"PATH": search, "PYTHONUNBUFFERED": "1", "PYTHONNOUSERSITE": "1"}
    return {**kept, **ours, **plan.variables}


class _Pipe:
    """A child's output as a `LogStream`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __iter__(self) -> Iterator[tuple[bytes | None, bytes | None]]:
        while data := os.read(self._descriptor, 1 << 16):
            yield data, None

    def stop(self) -> None:
        """Nothing: the pipe ends with the process group."""

    def close(self) -> None:
        """Nothing: the descriptor is closed with the child."""


def _execute(
    plan: TrainPlan, run: Run, command: tuple[str, ...], prefix: Path, sink: LineSink | None
) -> Outcome:
    run.mark_running()
    process = subprocess.Popen(
        command,
        cwd=run.folder.work,
        env=_environment(plan, prefix),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        bufsize=0,
    )
    with process:
        guard = start_guard(group=process.pid, on_loss=run.on_loss)
        try:
            outcome = _wait(plan, run, process, sink)
        finally:
            _end_group(process, grace=0)
            guard.dismiss()

    def fetch(output: str, target: Path) -> Collected:
        return _move_output(run.folder.work / output, target)

    return collect_outputs(plan.outputs, run.folder, outcome, fetch)


def _wait(
    plan: TrainPlan, run: Run, process: subprocess.Popen[bytes], sink: LineSink | None
) -> Outcome:
    source = process.stdout.fileno() if process.stdout is not None else -1
    pump = LogPump(_Pipe(source), log=run.folder.log_file, sink=sink)
    pump.start()
    timed_out = interrupted = False
    try:
        timed_out = not _wait_until(process, plan.max_seconds, pump)
        if timed_out:
            _end_group(process, grace=GRACE_SECONDS)
    except KeyboardInterrupt:
        interrupted = True
        _end_group(process, grace=_HASTE_SECONDS)
    # Children that the script left behind would hold the pipe open.
    _end_group(process, grace=0)
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


def _move_output(made: Path, target: Path) -> Collected:
    """Move an output into the run's folder, without what a container would not give either."""
    if made.is_symlink() or not made.exists():
        return Collected(found=False)
    if target.exists():
        return Collected(found=False, notes=(f"`{target}` is there already",))
    notes = tuple(_sweep(made)) if made.is_dir() else ()
    target.parent.mkdir(parents=True, exist_ok=True)
    made.rename(target)
    return Collected(found=True, notes=notes)


def _sweep(folder: Path) -> Iterator[str]:
    """Remove devices, pipes, sockets and links out of the folder; yield a note for each."""
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            if not path.readlink().is_absolute() and path.resolve().is_relative_to(root):
                continue
            why = "it links out of the outputs"
        elif stat.S_ISREG(path.stat().st_mode) or path.is_dir():
            continue
        else:
            why = "it is neither file, folder nor link"
        path.unlink()
        yield f"`{folder.name}/{path.relative_to(folder)}` was left out: {why}"
