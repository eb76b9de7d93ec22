"""What the tests of runs share."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuild.run.plan import TrainPlan, plan_train
from envbuild.spec.model_running import Train
from tests.rig.disk import small_disk

__all__ = ["PlanTraining", "plan_training", "runs", "small_disk"]

PlanTraining = Callable[..., TrainPlan]


@pytest.fixture
def plan_training(tmp_path: Path) -> PlanTraining:
    """Plans a run of the given script; keywords are those of `[train]`."""

    def plan(code: str, *, arguments: tuple[str, ...] = (), **train: object) -> TrainPlan:
        source = tmp_path / "source"
        source.mkdir(exist_ok=True)
        (source / "train.py").write_text(textwrap.dedent(code))
        wish = Train(script="train.py", source="source", **train)  # type: ignore[arg-type]
        return plan_train(
            wish,
            environment="lab",
            root=tmp_path,
            arguments=arguments,
            variables={"COLOUR": "blue"},
            env_digest="sha256:e",
            manifest_digest="sha256:m",
            image="lab:1",
        )

    return plan


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Where the records go."""
    return tmp_path / ".envbuild" / "runs"
