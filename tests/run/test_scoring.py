"""`score.py` under the real azureml-inference-server-http, as people have it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuild.engine.client import Engine
from envbuild.run.checks import SERVER
from envbuild.run.service import plan_service
from envbuild.run.smoke import SmokePlan, SmokeReport, smoke
from envbuild.spec.model_running import Expect, Request, Resources, Smoke
from tests.rig.image import PYTHON, LoadedImage

pytestmark = [pytest.mark.engine, pytest.mark.network]

Score = Callable[..., SmokeReport]


@pytest.fixture
def score(engine: Engine, served_image: LoadedImage, tmp_path: Path) -> Score:
    """Smoke-tests an entry script."""

    def run(code: str, *requests: Request, image_id: str = "", **wish: object) -> SmokeReport:
        (tmp_path / "api").mkdir(exist_ok=True)
        (tmp_path / "api/score.py").write_text(textwrap.dedent(code))
        (tmp_path / "model.txt").write_text("3")
        spec = Smoke(
            entry_script="score.py",
            source="api",
            models=("model.txt",),
            resources=Resources(cpus=1.0, memory="512m"),
            request=requests,
            **wish,  # type: ignore[arg-type]
        )
        service = plan_service(spec, environment="lab", root=tmp_path, runs=tmp_path / "runs")
        plan = SmokePlan(
            service=service,
            requests=spec.request,
            packages=frozenset({SERVER}),
            python=PYTHON,
            python_minor="3.11",
            image_id=image_id or served_image.image_id,
        )
        return smoke(plan, engine=engine, folder=tmp_path / "reports")

    return run


def _failed(report: SmokeReport) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks if not check.passed}


GOOD = """
import json, os
import helper

def init():
    global factor
    with open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.txt")) as file:
        factor = int(file.read())

def run(data):
    values = json.loads(data)["data"]
    return helper.scale(values, factor)
"""


def test_score_py_works_unchanged(score: Score, tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api/helper.py").write_text("def scale(v, f): return [f * x for x in v]")
    request = Request(json={"data": [1, 2]}, expect=Expect(json=[3, 6]))
    report = score(GOOD, request, Request(path="/nope", expect=Expect(status=404)))
    assert _failed(report) == {}
    details = {check.name: check.detail for check in report.checks}
    assert details["survives a malformed request"] == "it answered 500"
    assert details["stops on SIGTERM"] == "exit code 0"


def test_score_py_works_as_another_user(
    score: Score, served_image: LoadedImage, engine: Engine, tmp_path: Path
) -> None:
    from envbuild.engine.layout import read_layout
    from envbuild.engine.load import ensure_loaded

    layout = served_image.layout
    layers = read_layout(layout.root, served_image.manifest).layers
    manifest = layout.add_image(layers, user="4321:99")
    name = f"{served_image.name}-user"
    loaded = ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=name)
    code = "import os\ndef init(): pass\ndef run(data): return os.getuid()\n"
    try:
        report = score(code, Request(json=1, expect=Expect(json=4321)), image_id=loaded.image_id)
    finally:
        engine.client.images.remove(name, force=True)
    assert _failed(report) == {}


def test_failing_init_is_told_with_its_reason(score: Score) -> None:
    report = score("def init(): raise KeyError('no weights')\ndef run(data): pass")
    detail = _failed(report)["becomes ready"]
    assert "KeyError: 'no weights'" in detail.partition("\n")[0]


def test_failing_import_is_told_with_its_reason(score: Score) -> None:
    report = score("import not_there\ndef init(): pass\ndef run(data): pass")
    detail = _failed(report)["becomes ready"].partition("\n")[0]
    assert "ModuleNotFoundError: No module named 'not_there'" in detail


def test_hanging_init_is_a_time_out(score: Score) -> None:
    code = "import time\ndef init(): print('loading'); time.sleep(600)\ndef run(data): pass"
    report = score(code, ready_timeout="8s")
    detail = _failed(report)["becomes ready"]
    assert "not ready within 8 s" in detail


def test_slow_init_is_waited_for(score: Score) -> None:
    code = "import time\ndef init(): time.sleep(4)\ndef run(data): return 1"
    report = score(code, Request(json=1, expect=Expect(json=1)))
    assert _failed(report) == {}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("float('nan')", "NaN"),
        ("1 / 0", "status 500"),
        ("AMLResponse('no', 500)", "status 500"),
        ("AMLResponse('partly', 200, {'x-ms-run-function-failed': 'True'})", "run() failed"),
    ],
)
def test_failing_run_is_found(score: Score, result: str, words: str) -> None:
    report = score(
        f"""
        from azureml_inference_server_http.api.aml_response import AMLResponse
        def init(): pass
        def run(data): return {result}
        """,
        Request(json=1),
    )
    assert words in _failed(report)["POST /score (request 1)"]
