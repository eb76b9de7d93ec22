"""Smoke tests of services in real containers: what is wrong is found, and nothing is left."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from envbuild.engine.client import Engine
from envbuild.errors import RunError
from envbuild.kit.progress import Progress, Silent
from envbuild.run.record import RunFolder, create_record, create_run
from envbuild.run.service import plan_service
from envbuild.run.smoke import SmokePlan, SmokeReport, check_statically, render_rows, smoke
from envbuild.spec.model_running import Expect, Request, Resources, Smoke
from tests.rig.image import PYTHON, LoadedImage

pytestmark = pytest.mark.engine

SERVICE = """
import http.server, json, os, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, b"up", "text/plain")

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            data = json.loads(raw)
        except ValueError:
            self.malformed()
            return
        BEHAVE
        self.answer(200, json.dumps([n + 1 for n in data]).encode())

    def malformed(self):
        MALFORMED
        self.answer(400, b"{}")

    def answer(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

START
print("serving", flush=True)
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""

Check = Callable[..., SmokeReport]


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    return tmp_path / ".envbuild" / "smoke"


@pytest.fixture
def lab() -> str:
    """The environment's name: a test's own, so that its containers are told from others'."""
    return f"lab-{secrets.token_hex(4)}"


def _containers(engine: Engine, lab: str) -> list[object]:
    label = f"envbuild.environment={lab}"
    return list(engine.client.containers.list(all=True, filters={"label": label}))


@pytest.fixture
def check(
    engine: Engine, python_image: LoadedImage, tmp_path: Path, reports: Path, lab: str
) -> Check:
    """Smoke-tests a small web service with pieces of code put in; keywords are `[smoke]`'s."""

    def run(
        *,
        behave: str = "pass",
        malformed: str = "pass",
        start: str = "pass",
        requests: tuple[Request, ...] = (Request(path="/add", json=[1, 2]),),
        progress: Progress | None = None,
        **wish: object,
    ) -> SmokeReport:
        source = tmp_path / "service"
        source.mkdir(exist_ok=True)
        code = textwrap.dedent(SERVICE).replace("BEHAVE", behave).replace("MALFORMED", malformed)
        (source / "serve.py").write_text(code.replace("START", start))
        facts: dict[str, object] = {
            "command": (PYTHON, "serve.py"),
            "port": 8000,
            "source": "service",
            "ready_timeout": "60s",
            **wish,
        }
        spec = Smoke(request=requests, **facts)  # type: ignore[arg-type]
        service = plan_service(
            spec, environment=lab, root=tmp_path, runs=tmp_path / "runs", variables={"MOOD": "x"}
        )
        plan = SmokePlan(
            service=service, requests=spec.request, python=PYTHON, image_id=python_image.image_id
        )
        report = smoke(plan, engine=engine, folder=reports, progress=progress)
        assert not _containers(engine, lab)
        assert sorted(p.suffix for p in reports.iterdir()) == [".json", ".log"]
        return report

    return run


def _failed(report: SmokeReport) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks if not check.passed}


def test_good_service_passes_and_the_report_is_written(
    check: Check, reports: Path, lab: str
) -> None:
    report = check(
        requests=(
            Request(path="/add", json=[1, 2], expect=Expect(json=[2, 3], max_ms=30_000)),
            Request(path="/", expect=Expect(contains="up")),
        ),
        resources=Resources(cpus=0.5, memory="256m"),
    )
    assert _failed(report) == {}
    assert report.passed
    assert [row[:2] for row in render_rows(report)] == [
        ("becomes ready", "ok"),
        ("POST /add (request 1)", "ok"),
        ("GET / (request 2)", "ok"),
        ("survives a malformed request", "ok"),
        ("stops on SIGTERM", "ok"),
    ]
    written = json.loads((reports / f"{lab}.json").read_text())
    assert written["passed"] is True
    assert len(written["checks"]) == 5
    assert written["snapshot"] == report.snapshot
    assert "serving" in (reports / f"{lab}.log").read_text()
    assert report.log == str(reports / f"{lab}.log")


def test_service_without_requests_is_provoked_with_garbage(check: Check) -> None:
    report = check(requests=())
    assert report.passed
    (provoked,) = [c for c in report.checks if c.name == "survives a malformed request"]
    assert "it " in provoked.detail


def test_any_command_that_listens_is_a_service(check: Check) -> None:
    report = check(
        command=(PYTHON, "-m", "http.server", "8000"),
        requests=(Request(path="/serve.py", expect=Expect(contains="ThreadingHTTPServer")),),
    )
    assert _failed(report) == {}


@pytest.mark.parametrize(
    ("behave", "expect", "words"),
    [
        ("self.answer(200, b'[NaN]'); return", Expect(), "NaN"),
        ("self.answer(200, b'[2, 4]'); return", Expect(json=[2, 3]), "`$[1]` is 4, not 3"),
        ("self.answer(503, b'{}'); return", Expect(), "status 503 instead of 200"),
        ("time.sleep(0.5)", Expect(max_ms=300), "allowed are 300 ms"),
        ("self.close_connection = True; return", Expect(), "without an answer"),
    ],
)
def test_wrong_answer_is_found(check: Check, behave: str, expect: Expect, words: str) -> None:
    report = check(behave=behave, requests=(Request(path="/add", json=[1, 2], expect=expect),))
    assert words in _failed(report)["POST /add (request 1)"]
    assert not report.passed
    assert report.checks[-1].name == "stops on SIGTERM"
    assert report.checks[-1].passed


def test_crash_at_the_start_is_reported_with_its_reason(check: Check) -> None:
    report = check(start="raise RuntimeError('no model today')")
    detail = _failed(report)["becomes ready"]
    assert len(report.checks) == 1
    assert "exit code 1" in detail.partition("\n")[0]
    assert "RuntimeError: no model today" in detail.partition("\n")[0]


def test_hanging_start_is_a_time_out_with_the_end_of_the_log(check: Check) -> None:
    report = check(start="print('loading', flush=True); time.sleep(600)", ready_timeout="6s")
    detail = _failed(report)["becomes ready"]
    assert "not ready within 6 s" in detail
    assert "loading" in detail
    assert len(report.checks) == 1


def test_service_on_another_port_is_told(check: Check) -> None:
    report = check(port=8001, ready_timeout="2s")
    assert "port 8001" in _failed(report)["becomes ready"]


def test_service_that_listens_on_loopback_alone_gets_a_hint(check: Check) -> None:
    start = "http.server.ThreadingHTTPServer(('127.0.0.1', 8000), Handler).serve_forever()"
    report = check(start=start, ready_timeout="3s")
    assert "does it listen on 0.0.0.0:8000" in _failed(report)["becomes ready"]


def test_error_page_is_not_ready(check: Check) -> None:
    class_code = "Handler.do_GET = lambda self: self.answer(503, b'wait', 'text/plain')"
    report = check(start=class_code, ready_timeout="6s")
    assert "answered 503" in _failed(report)["becomes ready"]


def test_missing_page_is_ready(check: Check) -> None:
    class_code = "Handler.do_GET = lambda self: self.answer(404, b'', 'text/plain')"
    report = check(start=class_code)
    assert _failed(report) == {}


def test_kill_for_memory_at_the_start_is_explained(check: Check) -> None:
    report = check(start="x = b'1' * (1 << 30)", resources=Resources(memory="64m"))
    assert "limit of 64m" in _failed(report)["becomes ready"]


def test_death_by_a_request_is_told_with_the_log(check: Check) -> None:
    report = check(behave="print('bye', flush=True); os._exit(9)")
    detail = _failed(report)["POST /add (request 1)"]
    assert "exit code 9" in detail
    assert "bye" in detail
    assert [c.name for c in report.checks] == ["becomes ready", "POST /add (request 1)"]


def test_kill_for_memory_by_a_request_is_explained(check: Check) -> None:
    report = check(behave="x = b'1' * (1 << 30)", resources=Resources(memory="64m"))
    assert "limit of 64m" in _failed(report)["POST /add (request 1)"]


def test_malformed_request_that_kills_is_found(check: Check) -> None:
    report = check(malformed="os._exit(4)")
    detail = _failed(report)["survives a malformed request"]
    assert "exit code 4" in detail


def test_malformed_request_that_spoils_the_next_one_is_found(check: Check) -> None:
    report = check(malformed="Handler.do_POST = lambda self: self.answer(500, b'broken')")
    detail = _failed(report)["survives a malformed request"]
    assert "answered 400; afterwards: status 500" in detail
    assert report.checks[-1].name == "stops on SIGTERM"


def test_service_that_ignores_sigterm_is_found_and_killed(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envbuild.run.smoke.STOP_SECONDS", 1.0)
    report = check(start="import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    assert "ignored SIGTERM" in _failed(report)["stops on SIGTERM"]


def test_service_that_stops_with_an_error_is_found(check: Check) -> None:
    report = check(start="import signal; signal.signal(signal.SIGTERM, lambda *_: os._exit(3))")
    assert "exit code 3" in _failed(report)["stops on SIGTERM"]


def test_missing_program_is_told(check: Check) -> None:
    report = check(command=("no-such-program",))
    assert "not found" in _failed(report)["becomes ready"]


def test_variables_models_and_limits_reach_the_service(
    check: Check, tmp_path: Path, engine: Engine
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/a.bin").write_bytes(b"a")
    (tmp_path / "model.pkl").write_bytes(b"pickle")
    report = check(
        models=("model.pkl", "weights"),
        behave=(
            "d = os.environ['AZUREML_MODEL_DIR']; "
            "self.answer(200, json.dumps([os.environ['MOOD'], sorted(os.listdir(d)), "
            "open(d + '/model.pkl').read(), open(d + '/weights/a.bin').read(), "
            "os.stat(d + '/model.pkl').st_mode & 0o777]).encode()); return"
        ),
        requests=(
            Request(
                path="/add",
                json=[],
                expect=Expect(json=["x", ["model.pkl", "weights"], "pickle", "a", 0o444]),
            ),
        ),
    )
    assert _failed(report) == {}
    assert list(report.models) == ["model.pkl"]


class _Meddler(Silent):
    """Changes a model while the service is asked."""

    def __init__(self, model: Path) -> None:
        self._model = model

    def update(self, task: str, doing: str, done: int = 0, total: int = 0) -> None:
        if doing == "asking the service":
            self._model.write_bytes(b"another")


def test_model_that_changes_meanwhile_is_not_taken_for_the_tested_one(
    check: Check, tmp_path: Path, reports: Path
) -> None:
    model = tmp_path / "model.pkl"
    model.write_bytes(b"one")
    with pytest.raises(RunError) as caught:
        check(models=("model.pkl",), progress=_Meddler(model))
    assert caught.value.code == "run.source-changed"
    assert not list(reports.glob("*.json"))


LEAD = """
import sys
from pathlib import Path
from envbuild.engine.client import connect_engine
from envbuild.run.service import plan_service
from envbuild.run.smoke import SmokePlan, smoke
from envbuild.spec.model_running import Smoke

image, python, lab, root = sys.argv[1:]
code = "import time; print('up', flush=True); time.sleep(600)"
wish = Smoke(command=(python, "-c", code), port=8000, ready_timeout="600s", source="empty")
service = plan_service(wish, environment=lab, root=Path(root), runs=Path(root, "runs"))
with connect_engine() as engine:
    smoke(SmokePlan(service=service, image_id=image), engine=engine, folder=Path(root, "smoke"))
"""


def test_killed_test_leaves_its_log_and_nothing_else(
    engine: Engine, python_image: LoadedImage, tmp_path: Path, lab: str
) -> None:
    (tmp_path / "empty").mkdir()
    folder = tmp_path / "smoke"
    command = [sys.executable, "-c", LEAD, python_image.image_id, PYTHON, lab, str(tmp_path)]
    with subprocess.Popen(command) as process:
        try:
            _wait_for(lambda: any("up" in p.read_text() for p in folder.glob(".*.part")))
            assert _containers(engine, lab)
        finally:
            process.kill()
    _wait_for(lambda: [p.name for p in folder.iterdir()] == [f"{lab}.log"])
    _wait_for(lambda: not _containers(engine, lab))


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _plan(tmp_path: Path, *models: str) -> object:
    wish = Smoke(command=("x",), models=models)
    return plan_service(wish, environment="lab", root=tmp_path, runs=tmp_path / "runs").models


def test_model_of_the_latest_run_is_taken(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    folders = []
    for status in ("completed", "failed"):
        run_id, folder = create_run(runs)
        folder.find_place("outputs").mkdir()
        folder.find_place("outputs/model.pkl").write_text(status)
        record = create_record(run_id, environment="lab", target="docker", command=())
        folder.write(replace(record, status=status))
        folders.append(folder)
    assert _plan(tmp_path, "outputs/model.pkl") == {
        "model.pkl": folders[0].find_place("outputs/model.pkl")
    }
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/model.pkl").write_text("own")
    assert _plan(tmp_path, "outputs/model.pkl") == {"model.pkl": tmp_path / "outputs/model.pkl"}


def test_missing_model_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"model\.pkl") as caught:
        _plan(tmp_path, "model.pkl")
    assert caught.value.code == "smoke.no-model"
    assert caught.value.hint == "to train it, run `nox -s train -- lab`"


def test_models_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a/m.pkl", "b/m.pkl"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("")
    with pytest.raises(RunError, match=r"m\.pkl") as caught:
        _plan(tmp_path, "a/m.pkl", "b/m.pkl")
    assert caught.value.code == "smoke.model-twice"


def test_bad_entry_script_is_found_without_a_container(
    engine: Engine, tmp_path: Path, reports: Path
) -> None:
    (tmp_path / "score.py").write_text("def run(data): pass")
    wish = Smoke(entry_script="score.py")
    service = plan_service(wish, environment="lab", root=tmp_path, runs=tmp_path / "runs")
    plan = SmokePlan(service=service, image_id="sha256:not-even-there")
    report = smoke(plan, engine=engine, folder=reports)
    assert set(_failed(report)) == {"init() is there", "scoring server is locked"}
    assert report.checks == check_statically(plan)
    assert report.log == ""
    assert [p.name for p in reports.iterdir()] == ["lab.json"]


def test_engine_on_another_machine_is_refused(tmp_path: Path, reports: Path) -> None:
    wish = Smoke(command=("x",))
    service = plan_service(wish, environment="lab", root=tmp_path, runs=tmp_path / "runs")
    client = docker.DockerClient(base_url="tcp://127.0.0.1:1", version="1.41")
    far = Engine(client=client, address="tcp://gpu.example.com:2375", version="", api="", pinned={})
    with far, pytest.raises(RunError) as caught:
        smoke(SmokePlan(service=service), engine=far, folder=reports)
    assert caught.value.code == "smoke.remote-engine"


def test_run_folder_is_where_models_are_looked_for(tmp_path: Path) -> None:
    run_id, folder = create_run(tmp_path / "runs")
    assert folder == RunFolder(root=tmp_path / "runs" / run_id)
