"""Lead a run from plan to end, and keep its record true at every moment."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envbuild.errors import EnvbuildError
from envbuild.kit.disk import disk_errors
from envbuild.run.endings import explain_exit, explain_memory
from envbuild.run.plan import TrainPlan
from envbuild.run.record import (
    RunFolder,
    RunRecord,
    Status,
    create_record,
    create_run,
    find_time,
    plan_loss,
)

__all__ = ["Execution", "Outcome", "Run", "judge", "run_recorded"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How an execution ended."""

    status: Status
    exit_code: int | None
    reason: str = ""
    found: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Run:
    """A run under way: its folder, its record as written, and who shall close it if we can't."""

    def __init__(self, folder: RunFolder, record: RunRecord) -> None:
        self.folder = folder
        self.record = record
        folder.write(record)

    @property
    def on_loss(self) -> tuple[str, ...]:
        """The command that marks the record if this process is killed."""
        return plan_loss(self.folder)

    def update(self, **changes: Any) -> None:
        """Write the record with these changes."""
        self.record = dataclasses.replace(self.record, **changes)
        self.folder.write(self.record)

    def mark_running(self) -> None:
        """The script starts now."""
        self.update(status="running", started=find_time())

    def finish(self, outcome: Outcome) -> None:
        """Close the record."""
        self.update(
            status=outcome.status,
            finished=find_time(),
            exit_code=outcome.exit_code,
            reason=outcome.reason,
            outputs_found=outcome.found,
            outputs_missing=outcome.missing,
            notes=(*self.record.notes, *outcome.notes),
        )


def _interrupted(code: int | None) -> Outcome:
    """Return what Ctrl-C makes of a run."""
    return Outcome(status="interrupted", exit_code=code, reason="interrupted by the user")


def judge(
    plan: TrainPlan,
    code: int | None,
    *,
    timed_out: bool = False,
    interrupted: bool = False,
    out_of_memory: bool = False,
) -> Outcome:
    """Return what the end of a script means; `code` is None if it never started."""
    if interrupted:
        return _interrupted(code)
    if timed_out:
        reason = f"it ran longer than its `max-duration` of {plan.max_seconds or 0:g} s"
        return Outcome(status="timed-out", exit_code=code, reason=reason)
    if code == 0:
        return Outcome(status="completed", exit_code=code)
    if out_of_memory:
        reason = explain_memory(plan.limits.memory_bytes)
        return Outcome(status="out-of-memory", exit_code=code, reason=reason)
    reason = "it never started" if code is None else explain_exit(code)
    return Outcome(status="failed", exit_code=code, reason=reason)


Execution = Callable[[Run], Outcome]
"""Runs the script; after Ctrl-C it cleans up and returns an outcome that is `interrupted`."""


def run_recorded(
    plan: TrainPlan,
    execute: Execution,
    *,
    runs: Path,
    target: str,
    command: Sequence[str],
    image_id: str = "",
) -> RunRecord:
    """Execute a plan under a new record in `runs` and return the closed record.

    Whatever ends it, no record stays open: an error closes it as failed and is raised again,
    Ctrl-C as interrupted, with `KeyboardInterrupt` raised again. Raises `EnvbuildError`
    `disk.full` or `disk.refused` where the log, the outputs or the record can't be written.
    """
    with disk_errors(runs):
        run = _open_run(plan, runs=runs, target=target, command=tuple(command), image_id=image_id)
        try:
            with disk_errors(run.folder.root):
                outcome = execute(run)
        except BaseException as error:
            # On a full disk this may fail as well; then the record says nothing wrong, but less.
            with contextlib.suppress(OSError):
                run.finish(_explain_failure(error))
            raise
        run.finish(outcome)
    if outcome.status == "interrupted":
        raise KeyboardInterrupt
    return run.record


def _explain_failure(error: BaseException) -> Outcome:
    if isinstance(error, KeyboardInterrupt):
        return _interrupted(None)
    text = error.message if isinstance(error, EnvbuildError) else repr(error)
    return Outcome(status="failed", exit_code=None, reason=text)


def _open_run(
    plan: TrainPlan, *, runs: Path, target: str, command: tuple[str, ...], image_id: str
) -> Run:
    run_id, folder = create_run(runs)
    git = plan.snapshot.git
    record = create_record(
        run_id,
        environment=plan.environment,
        target=target,
        command=command,
        arguments=plan.arguments,
        env_digest=plan.env_digest,
        manifest_digest=plan.manifest_digest,
        image_id=image_id,
        image=plan.image,
        snapshot=plan.snapshot.digest,
        inputs=plan.inputs,
        git=dataclasses.asdict(git) if git is not None else None,
        resources=dataclasses.asdict(plan.limits),
        variables=tuple(sorted(plan.variables)),
        max_seconds=plan.max_seconds,
        notes=plan.snapshot.notes,
    )
    return Run(folder, record)
