"""A web service in a container: what it is, how it starts, and when it is ready or dead."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from envbuild.engine.archive import Upload
from envbuild.engine.container import Container
from envbuild.engine.leftovers import RUN_LABEL
from envbuild.engine.plan import ContainerPlan, Limits
from envbuild.run.endings import explain_exit, explain_memory, find_exception
from envbuild.run.http import Message, NoAnswerError, send
from envbuild.run.models import MODEL_DIR, find_models, plan_model_uploads
from envbuild.run.plan import WORKDIR, plan_limits
from envbuild.run.snapshot import Snapshot, plan_uploads, take_snapshot
from envbuild.run.variables import expand_variables
from envbuild.spec.formats import parse_duration
from envbuild.spec.model_running import Smoke

__all__ = [
    "Readiness",
    "ServicePlan",
    "explain_death",
    "plan_container",
    "plan_service",
    "plan_service_uploads",
    "wait_until_ready",
]

_FIRST_TRY_SECONDS: Final = 1.0
_LONGEST_TRY_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.1
_TAIL: Final = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class ServicePlan:
    """One service. Either `entry_script` or `command` is set; `models` maps a name in the model
    folder to a file or folder of this machine; times are seconds."""

    environment: str
    snapshot: Snapshot
    entry_script: str | None = None
    command: tuple[str, ...] | None = None
    port: int = 5001
    models: Mapping[str, Path] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    ready_path: str = "/"
    ready_seconds: float = 60.0


def plan_service(
    smoke: Smoke,
    *,
    environment: str,
    root: Path,
    runs: Path,
    variables: Mapping[str, str] | None = None,
) -> ServicePlan:
    """Return the service that `[smoke]` of a spec describes, with a snapshot of its source.

    Raises `RunError`: `run.no-source`, `run.unreadable`, `smoke.no-model`, `smoke.model-twice`.
    A missing entry script is no error here but a failed check of the smoke test.
    """
    return ServicePlan(
        environment=environment,
        snapshot=take_snapshot(root / smoke.source),
        entry_script=str(PurePosixPath(smoke.entry_script)) if smoke.entry_script else None,
        command=smoke.command,
        port=smoke.port,
        models=find_models(smoke.models, environment=environment, root=root, runs=runs),
        variables=dict(variables or {}),
        limits=plan_limits(smoke.resources),
        ready_path=smoke.ready_path,
        ready_seconds=parse_duration(smoke.ready_timeout),
    )


def plan_container(plan: ServicePlan, *, name: str, image_id: str, python: str) -> ContainerPlan:
    """Return the container of a service; its port is published on a free one of loopback.

    Raises `RunError` `run.variable` for a reference in `[env]` to a variable that isn't set.
    """
    if plan.entry_script is not None:
        command: tuple[str, ...] = (
            *(python, "-m", "azureml_inference_server_http"),
            *("--entry_script", plan.entry_script),
            *("--model_dir", MODEL_DIR),
            *("--port", str(plan.port)),
        )
    else:
        command = plan.command or ()
    return ContainerPlan(
        name=name,
        image=image_id,
        command=command,
        environment={
            "PYTHONUNBUFFERED": "1",
            "AZUREML_MODEL_DIR": MODEL_DIR,
            **expand_variables(plan.variables),
        },
        workdir=WORKDIR,
        limits=plan.limits,
        port=plan.port,
        labels={RUN_LABEL: name, "envbuild.environment": plan.environment},
    )


def plan_service_uploads(plan: ServicePlan) -> Iterator[Upload]:
    """Yield what goes into the service's container: its source, then its models."""
    yield from plan_uploads(plan.snapshot, WORKDIR)
    yield from plan_model_uploads(plan.models)


@dataclass(frozen=True, kw_only=True, slots=True)
class Readiness:
    """If a service became ready, after how long; else why not."""

    ready: bool
    ms: float
    detail: str
    port: int | None = None


def wait_until_ready(container: Container, plan: ServicePlan, *, log: Path) -> Readiness:
    """Wait until the service answers on `ready_path` with a status below 500, dies, or is late.

    A server that takes connections before it can answer (as the scoring server does while
    `init()` runs) is asked with a time-out of its own each time.
    """
    begin = time.monotonic()
    deadline = begin + plan.ready_seconds
    patience, last = _FIRST_TRY_SECONDS, "nothing was tried"
    while True:
        port = container.find_port()
        if port is None or not container.state().is_running:
            return Readiness(ready=False, ms=_ms(begin), detail=explain_death(container, log))
        left = deadline - time.monotonic()
        if left <= 0:
            detail = f"not ready within {plan.ready_seconds:g} s: {last}"
            return Readiness(ready=False, ms=_ms(begin), detail=_with_tail(detail, log))
        try:
            answer = send(
                port, Message(path=plan.ready_path), timeout=max(0.1, min(left, patience))
            )
        except NoAnswerError as error:
            last = f"`GET {plan.ready_path}` on port {plan.port}: {error}"
            if error.closed:
                last += f"; does it listen on 0.0.0.0:{plan.port}, not on 127.0.0.1 alone?"
            patience = min(_LONGEST_TRY_SECONDS, patience * 1.5)
        else:
            if answer.status < 500:
                detail = f"`GET {plan.ready_path}` answered {answer.status}"
                return Readiness(ready=True, ms=_ms(begin), detail=detail, port=port)
            last = f"`GET {plan.ready_path}` answered {answer.status}"
        time.sleep(_PAUSE_SECONDS)


def _ms(begin: float) -> float:
    return (time.monotonic() - begin) * 1000


def explain_death(container: Container, log: Path) -> str:
    """Say why a service isn't running any more, with the end of its log."""
    container.wait(5)
    container.finish_log()
    state = container.state()
    if state.out_of_memory:
        reason = explain_memory(container.plan.limits.memory_bytes)
    elif state.exit_code is None:
        reason = f"it is {state.status}"
    else:
        reason = explain_exit(state.exit_code)
    exception = None if state.out_of_memory else find_exception(_read_lines(log))
    said = f"the service died: {reason}" + (f", after {exception}" if exception else "")
    return _with_tail(said, log)


def _read_lines(log: Path) -> list[str]:
    try:
        return log.read_bytes().decode(errors="replace").splitlines()
    except OSError:
        return []


def _with_tail(text: str, log: Path) -> str:
    tail = [line.rstrip() for line in _read_lines(log) if line.strip()][-_TAIL:]
    return (
        "\n".join((f"{text}; the end of its log:", *tail)) if tail else f"{text}; its log is empty"
    )
