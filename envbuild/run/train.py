"""Run a training script in a container: log live, limits kept, outputs collected whatever happens.

The script's stdout and stderr are one stream, so their lines come in the order in which they were
written; its exit code is the run's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from envbuild.engine.client import Engine
from envbuild.engine.container import Container, open_container
from envbuild.engine.leftovers import RUN_LABEL
from envbuild.engine.logs import LineSink
from envbuild.engine.outputs import Collected
from envbuild.engine.plan import ContainerPlan
from envbuild.run.collect import collect_outputs
from envbuild.run.plan import WORKDIR, TrainPlan
from envbuild.run.record import RunRecord
from envbuild.run.recorder import Outcome, Run, judge, run_recorded
from envbuild.run.snapshot import plan_uploads
from envbuild.run.variables import expand_variables

__all__ = ["train"]

GRACE_SECONDS: Final = 10.0
"""How long a script that is out of time has to end by itself."""
_HASTE_SECONDS: Final = 2.0
"""The same after Ctrl-C."""

_ONE_STREAM: Final = "import os,sys;os.dup2(1,2);os.execv(sys.argv[1],sys.argv[1:])"
"""Python that makes stderr the same pipe as stdout, then becomes the command: only within one
pipe is the order of two streams kept, and an image need not have a shell."""


def train(
    plan: TrainPlan,
    *,
    engine: Engine,
    image_id: str,
    python: str,
    runs: Path,
    sink: LineSink | None = None,
    network: str = "bridge",
) -> RunRecord:
    """Run `plan` with the image's interpreter `python` (absolute) and return its record.

    The record's status and exit code say how it went; a script that fails is no error here.
    Raises `EngineError` for what keeps the script from running at all and `RunError`
    `run.variable` or `run.source-changed`; `KeyboardInterrupt` after Ctrl-C, when all is
    cleaned up.
    """
    command = (python, plan.script, *plan.arguments)
    variables = expand_variables(plan.variables)

    def execute(run: Run) -> Outcome:
        container_plan = ContainerPlan(
            name=f"envbuild-{run.record.id}",
            image=image_id,
            command=(python, "-I", "-S", "-c", _ONE_STREAM, *command),
            environment={"PYTHONUNBUFFERED": "1", **variables},
            workdir=WORKDIR,
            limits=plan.limits,
            network=network,
            labels={RUN_LABEL: run.record.id, "envbuild.environment": plan.environment},
        )
        with open_container(engine, container_plan, on_loss=run.on_loss) as container:
            container.put(plan_uploads(plan.snapshot, WORKDIR))
            return _execute(plan, run, container, sink)

    return run_recorded(
        plan, execute, runs=runs, target="docker", command=command, image_id=image_id
    )


def _execute(plan: TrainPlan, run: Run, container: Container, sink: LineSink | None) -> Outcome:
    timed_out = interrupted = False
    run.mark_running()
    try:
        container.start(log=run.folder.log_file, sink=sink)
        timed_out = container.wait(plan.max_seconds) is None
        if timed_out:
            container.stop(grace=GRACE_SECONDS)
    except KeyboardInterrupt:
        interrupted = True
        container.stop(grace=_HASTE_SECONDS)
    container.finish_log()
    state = container.state()
    outcome = judge(
        plan,
        state.exit_code,
        timed_out=timed_out,
        interrupted=interrupted,
        out_of_memory=state.out_of_memory,
    )

    def fetch(output: str, target: Path) -> Collected:
        return container.collect(f"{WORKDIR}/{output}", target)

    return collect_outputs(plan.outputs, run.folder, outcome, fetch)
