"""What a training run is: everything explicit, nothing looked up later."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from envbuild.engine.plan import Limits
from envbuild.kit.canonical import digest_json
from envbuild.run.snapshot import Snapshot, take_snapshot
from envbuild.spec.formats import parse_duration, parse_memory
from envbuild.spec.model_running import Resources, Train

__all__ = ["WORKDIR", "TrainPlan", "plan_limits", "plan_train"]

WORKDIR: Final = "/workspace"
"""Where the snapshot goes in a container, and where the script is started."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainPlan:
    """One training run, whatever it will run on.

    `variables` are the script's environment variables; `outputs` are relative to the working
    folder; `image` is the reference under which the image is known, `max_seconds` the time limit.
    """

    environment: str
    snapshot: Snapshot
    script: str
    arguments: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    max_seconds: float | None = None
    env_digest: str = ""
    manifest_digest: str = ""
    image: str = ""

    @property
    def inputs(self) -> str:
        """Digest of all that decides what the run does: equal inputs need no second run."""
        return digest_json(
            {
                "envbuild-run": 1,
                "env": self.env_digest,
                "snapshot": self.snapshot.digest,
                "command": [self.script, *self.arguments],
                "outputs": list(self.outputs),
                "variables": dict(self.variables),
                "limits": [str(limit) for limit in dataclasses.astuple(self.limits)],
                "max_seconds": str(self.max_seconds),
            }
        )


def plan_train(
    train: Train,
    *,
    environment: str,
    root: Path,
    arguments: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    env_digest: str = "",
    manifest_digest: str = "",
    image: str = "",
) -> TrainPlan:
    """Take the snapshot and return the run that `[train]` of a spec describes.

    `root` is the repository that `source` is relative to; `arguments` come after the spec's own.
    Raises `RunError`: `run.no-source`, `run.no-script`, `run.unreadable`.
    """
    script = str(PurePosixPath(train.script))
    return TrainPlan(
        environment=environment,
        snapshot=take_snapshot(root / train.source, script=script),
        script=script,
        arguments=(*train.arguments, *arguments),
        outputs=tuple(str(PurePosixPath(output)) for output in train.outputs),
        variables=dict(variables or {}),
        limits=plan_limits(train.resources),
        max_seconds=parse_duration(train.max_duration) if train.max_duration else None,
        env_digest=env_digest,
        manifest_digest=manifest_digest,
        image=image,
    )


def plan_limits(resources: Resources) -> Limits:
    """Return the limits that a spec's `resources` ask for, in numbers."""
    return Limits(
        cpus=resources.cpus,
        memory_bytes=parse_memory(resources.memory) if resources.memory else None,
        shm_bytes=parse_memory(resources.shm_size) if resources.shm_size else None,
        gpus=resources.gpus,
    )
