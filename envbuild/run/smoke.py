"""The smoke test of a web service: start it, ask it, provoke it, stop it, and leave nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from envbuild.engine.client import Engine
from envbuild.engine.container import Container, open_container
from envbuild.errors import RunError
from envbuild.kit.canonical import digest_bytes, digest_file
from envbuild.kit.disk import disk_errors
from envbuild.kit.files import write_atomic
from envbuild.kit.progress import Progress, Silent
from envbuild.run.answers import find_problem, plan_message
from envbuild.run.checks import Check, check_entry_script
from envbuild.run.endings import explain_exit
from envbuild.run.http import Message, NoAnswerError, send, send_garbage
from envbuild.run.models import digest_model
from envbuild.run.record import find_time, render_json
from envbuild.run.service import (
    Readiness,
    ServicePlan,
    explain_death,
    plan_container,
    plan_service_uploads,
    wait_until_ready,
)
from envbuild.spec.model_running import Expect, Request

__all__ = ["SmokePlan", "SmokeReport", "check_statically", "render_rows", "smoke"]

FORMAT: Final = 1
REQUEST_SECONDS: Final = 60.0
"""How long an answer is waited for, whatever its time budget."""
STOP_SECONDS: Final = 10.0
_LAST_SECONDS: Final = 2.0
"""How long a process whose connection broke may take to be seen dead."""
_PUBLISH: Final = "import os, sys; os.replace(*sys.argv[1:])"
"""Python that a guard runs to keep the log of a test that was killed."""
_CLEAN_CODES: Final = frozenset({0, 143})
_BROKEN_JSON: Final = b'{"data": [1, 2'


@dataclass(frozen=True, kw_only=True, slots=True)
class SmokePlan:
    """A service, what to ask it, and what it is made of.

    `packages` are the names of the locked distributions, `python` the image's interpreter
    (absolute), `python_minor` its version (`3.11`).
    """

    service: ServicePlan
    requests: tuple[Request, ...] = ()
    packages: AbstractSet[str] = field(default_factory=frozenset)
    python: str = "python"
    python_minor: str | None = None
    image_id: str = ""
    image: str = ""
    env_digest: str = ""
    manifest_digest: str = ""

    @property
    def inputs(self) -> str:
        """Digest of all that decides how the test goes: what passed once needs no second test."""
        service = self.service
        said = repr(
            (
                ("envbuild-smoke", FORMAT, self.env_digest, service.snapshot.digest),
                (service.entry_script, service.command, service.port, service.limits),
                (service.ready_path, service.ready_seconds, sorted(service.variables.items())),
                sorted((name, digest_model(path)) for name, path in service.models.items()),
                self.requests,
            )
        )
        return digest_bytes(said.encode())


@dataclass(frozen=True, kw_only=True, slots=True)
class SmokeReport:
    """What was checked, in order. `log` is the service's whole log, "" if it never started."""

    environment: str
    passed: bool
    checks: tuple[Check, ...]
    started: str
    finished: str
    env_digest: str = ""
    manifest_digest: str = ""
    image_id: str = ""
    image: str = ""
    snapshot: str = ""
    inputs: str = ""
    models: dict[str, str] = field(default_factory=dict)
    log: str = ""


def render_rows(report: SmokeReport) -> list[tuple[str, str, str, str]]:
    """Return a table's rows: check, `ok` or `FAILED`, milliseconds, and the detail's first line."""
    return [
        (
            check.name,
            "ok" if check.passed else "FAILED",
            "" if check.ms is None else f"{check.ms:.0f}",
            check.detail.partition("\n")[0],
        )
        for check in report.checks
    ]


def smoke(
    plan: SmokePlan, *, engine: Engine, folder: Path, progress: Progress | None = None
) -> SmokeReport:
    """Test the service; write `folder/NAME.json` and `folder/NAME.log`, and return the report.

    A service that fails is a report with failed checks. Raises `EngineError` if the engine can't
    run it at all, and `RunError("smoke.remote-engine")` for an engine on another machine.
    """
    with disk_errors(folder):
        return _test_and_report(plan, engine, folder, progress or Silent())


def _test_and_report(
    plan: SmokePlan, engine: Engine, folder: Path, progress: Progress
) -> SmokeReport:
    service, started = plan.service, find_time()
    log = folder / f"{service.environment}.log"
    inputs = plan.inputs
    checks = list(check_statically(plan))
    ran = all(check.passed for check in checks)
    if ran:
        checks += _check_live(plan, engine, log, progress)
        _check_unchanged(plan, inputs)
    report = SmokeReport(
        environment=service.environment,
        passed=all(check.passed for check in checks),
        checks=tuple(checks),
        started=started,
        finished=find_time(),
        env_digest=plan.env_digest,
        manifest_digest=plan.manifest_digest,
        image_id=plan.image_id,
        image=plan.image,
        snapshot=service.snapshot.digest,
        inputs=inputs,
        models={n: digest_file(p) for n, p in service.models.items() if p.is_file()},
        log=str(log) if ran else "",
    )
    value = {"format": FORMAT, **dataclasses.asdict(report)}
    write_atomic(folder / f"{service.environment}.json", render_json(value))
    return report


def _check_unchanged(plan: SmokePlan, inputs: str) -> None:
    """Refuse a report on models that are others by now: `--reuse` would take it for theirs."""
    if plan.inputs != inputs:
        raise RunError(
            "run.source-changed",
            f"the models of `{plan.service.environment}` changed while its service was tested",
            hint=f"test again: `nox -s smoke -- {plan.service.environment}`",
        )


def check_statically(plan: SmokePlan) -> tuple[Check, ...]:
    """Check what can be checked without image and engine; a command has nothing to check."""
    service = plan.service
    if service.entry_script is None:
        return ()
    path = service.snapshot.root / service.entry_script
    checks = check_entry_script(path, packages=plan.packages, python_minor=plan.python_minor)
    if path.is_file() and all(f.path != service.entry_script for f in service.snapshot.files):
        detail = "git ignores it, so it isn't part of what is served"
        return (Check(name="entry script is there", passed=False, detail=detail), *checks)
    return checks


def _check_live(plan: SmokePlan, engine: Engine, log: Path, progress: Progress) -> list[Check]:
    if not engine.is_local:
        raise RunError(
            "smoke.remote-engine",
            f"the service's port would be on the engine's machine `{engine.address}`, not here",
            hint="run the smoke test on that machine, or with an engine of this one",
        )
    service = plan.service
    name = f"envbuild-smoke-{service.environment}-{secrets.token_hex(4)}"
    container_plan = plan_container(service, name=name, image_id=plan.image_id, python=plan.python)
    with (
        _private_log(log) as part,
        open_container(
            engine, container_plan, on_loss=(sys.executable, "-c", _PUBLISH, str(part), str(log))
        ) as container,
    ):
        progress.update(service.environment, "starting the service")
        container.put(plan_service_uploads(service))
        container.start(log=part)
        readiness = wait_until_ready(container, service, log=part)
        checks = [_say_ready(readiness)]
        if readiness.ready and readiness.port is not None:
            progress.update(service.environment, "asking the service")
            checks += _Asking(plan, container, readiness.port, part).run()
        return checks


@contextlib.contextmanager
def _private_log(log: Path) -> Iterator[Path]:
    """Give a file that becomes `log` in the end, so that two tests at once don't share one."""
    log.parent.mkdir(parents=True, exist_ok=True)
    part = log.with_name(f".{log.name}.{secrets.token_hex(4)}.part")
    part.touch()
    try:
        yield part
    finally:
        with contextlib.suppress(FileNotFoundError):  # the guard was quicker
            part.replace(log)


def _say_ready(readiness: Readiness) -> Check:
    return Check(
        name="becomes ready", passed=readiness.ready, detail=readiness.detail, ms=readiness.ms
    )


class _Asking:
    """The part of a smoke test that talks to a service that is ready."""

    def __init__(self, plan: SmokePlan, container: Container, port: int, log: Path) -> None:
        self._plan = plan
        self._container = container
        self._port = port
        self._log = log

    def run(self) -> list[Check]:
        """Send the declared requests, the malformed one, and SIGTERM."""
        checks = []
        for number, request in enumerate(self._plan.requests, start=1):
            message = plan_message(request)
            name = f"{message.method} {message.path} (request {number})"
            check = self._ask(name, message, request.expect)
            checks.append(check)
            if not self._is_alive():
                return checks
        checks.append(self._provoke())
        if self._is_alive():
            checks.append(self._stop())
        return checks

    def _is_alive(self) -> bool:
        return self._container.state().is_running

    def _ask(
        self, name: str, message: Message, expect: Expect | None, *, in_time: bool = True
    ) -> Check:
        """Send a request; without `expect`, any answer below 500 is right."""
        try:
            answer = send(self._port, message, timeout=REQUEST_SECONDS)
        except NoAnswerError as error:
            died = self._container.wait(_LAST_SECONDS) is not None
            detail = explain_death(self._container, self._log) if died else str(error)
            return Check(name=name, passed=False, detail=detail)
        if expect is not None:
            problem = find_problem(expect, answer, in_time=in_time)
        else:
            problem = f"status {answer.status}" if answer.status >= 500 else None
        detail = problem or f"status {answer.status}"
        return Check(name=name, passed=problem is None, detail=detail, ms=answer.ms)

    def _provoke(self) -> Check:
        """Send something malformed; afterwards the first request must still be answered right."""
        name = "survives a malformed request"
        said, answered = self._send_malformed()
        if not answered:
            self._container.wait(_LAST_SECONDS)
        if not self._is_alive():
            death = explain_death(self._container, self._log)
            return Check(name=name, passed=False, detail=f"it {said}; then {death}")
        if self._plan.requests:
            first = self._plan.requests[0]
            after = self._ask(name, plan_message(first), first.expect, in_time=False)
        else:
            after = self._ask(name, Message(path=self._plan.service.ready_path), None)
        if after.passed:
            return Check(name=name, passed=True, detail=f"it {said}")
        return Check(name=name, passed=False, detail=f"it {said}; afterwards: {after.detail}")

    def _send_malformed(self) -> tuple[str, bool]:
        """Return in words what came back, and whether that was an HTTP answer."""
        path = self._find_post_path()
        if path is None:
            said = send_garbage(self._port, timeout=REQUEST_SECONDS)
            return said, said.startswith("answered")
        headers = {"Content-Type": "application/json"}
        message = Message(path=path, method="POST", headers=headers, body=_BROKEN_JSON)
        try:
            answer = send(self._port, message, timeout=REQUEST_SECONDS)
        except NoAnswerError as error:
            return f"gave no answer ({error})", False
        return f"answered {answer.status}", True

    def _find_post_path(self) -> str | None:
        messages = [plan_message(request) for request in self._plan.requests]
        posts = [message.path for message in messages if message.method == "POST"]
        if posts:
            return posts[0]
        return "/score" if self._plan.service.entry_script is not None else None

    def _stop(self) -> Check:
        stopped = self._container.stop(grace=STOP_SECONDS)
        self._container.finish_log()
        ms = stopped.seconds * 1000
        name = "stops on SIGTERM"
        if stopped.killed:
            detail = f"it ignored SIGTERM for {STOP_SECONDS:g} s and had to be killed"
            return Check(name=name, passed=False, detail=detail, ms=ms)
        if stopped.exit_code not in _CLEAN_CODES:
            detail = f"0 or 143 is wanted, but {explain_exit(stopped.exit_code)}"
            return Check(name=name, passed=False, detail=detail, ms=ms)
        return Check(name=name, passed=True, detail=f"exit code {stopped.exit_code}", ms=ms)
