"""Leads a training run as a process of its own, for tests that interrupt or kill it.

`python -m tests.run.lead docker IMAGE_ID PYTHON ROOT` or `... local PREFIX - ROOT`: runs
`ROOT/source/train.py` with records in `ROOT/runs`; the log goes to stdout as it comes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from envbuild.engine.client import connect_engine
from envbuild.run.local import train_local
from envbuild.run.plan import plan_train
from envbuild.run.train import train
from envbuild.spec.model_running import Train


def _show(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def main(target: str, what: str, python: str, root: str) -> int:
    wish = Train(script="train.py", source="source")
    plan = plan_train(wish, environment="lab", root=Path(root))
    runs = Path(root) / "runs"
    if target == "local":
        record = train_local(plan, prefix=Path(what), runs=runs, sink=_show)
    else:
        with connect_engine() as engine:
            record = train(plan, engine=engine, image_id=what, python=python, runs=runs, sink=_show)
    return record.exit_code or 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
