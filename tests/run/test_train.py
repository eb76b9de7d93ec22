"""Training runs in real containers: what the record says is what happened."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from envbuild.engine.client import Engine
from envbuild.engine.leftovers import RUN_LABEL, remove_container
from envbuild.errors import EngineError, EnvbuildError, RunError
from envbuild.run.plan import TrainPlan
from envbuild.run.record import RunFolder, RunRecord, list_runs, load_record
from envbuild.run.train import train
from envbuild.spec.model_running import Resources
from tests.rig.image import PYTHON, LoadedImage
from tests.run.conftest import PlanTraining

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
Lead = Callable[[TrainPlan], tuple[RunRecord, list[bytes]]]


@pytest.fixture
def lead(engine: Engine, python_image: LoadedImage, runs: Path) -> Lead:
    """Trains in a container; returns the record and the lines that came."""

    def run(plan: TrainPlan) -> tuple[RunRecord, list[bytes]]:
        lines: list[bytes] = []
        record = train(
            plan,
            engine=engine,
            image_id=python_image.image_id,
            python=PYTHON,
            runs=runs,
            sink=lines.append,
            network="none",
        )
        assert load_record(runs, record.id) == record
        assert not _containers(engine, record.id)
        return record, lines

    return run


def _containers(engine: Engine, run_id: str) -> list[str]:
    found = engine.client.containers.list(all=True, filters={"label": f"{RUN_LABEL}={run_id}"})
    return [str(container.name) for container in found]


def test_script_runs_with_its_arguments_variables_and_files(
    lead: Lead, plan_training: PlanTraining, python_image: LoadedImage, runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "source/lib").mkdir(parents=True)
    (tmp_path / "source/lib/helper.py").write_text("ANSWER = 42")
    plan = plan_training(
        """
        import os, sys
        from lib.helper import ANSWER
        print(sys.argv[1:], os.environ["COLOUR"], ANSWER, os.getcwd())
        os.makedirs("outputs/deep")
        open("outputs/deep/model.bin", "w").write("weights")
        """,
        arguments=("--lr", "0.1 x"),
    )
    record, lines = lead(plan)
    assert lines == [b"['--lr', '0.1 x'] blue 42 /workspace\n"]
    folder = RunFolder(root=runs / record.id)
    assert folder.log_file.read_bytes() == lines[0]
    assert folder.find_place("outputs/deep/model.bin").read_text() == "weights"
    assert (record.status, record.exit_code, record.reason) == ("completed", 0, "")
    assert record.command == (PYTHON, "train.py", "--lr", "0.1 x")
    assert record.image_id == python_image.image_id
    assert (record.env_digest, record.manifest_digest, record.image) == (
        "sha256:e",
        "sha256:m",
        "lab:1",
    )
    assert record.snapshot == plan.snapshot.digest
    assert record.variables == ("COLOUR",)
    assert "blue" not in folder.record_file.read_text()
    assert (record.outputs_found, record.outputs_missing) == (("outputs",), ())
    assert record.started
    assert record.finished
    assert record.created <= record.started <= record.finished


def test_exit_code_is_the_scripts_and_outputs_come_even_then(
    lead: Lead, plan_training: PlanTraining, runs: Path
) -> None:
    plan = plan_training(
        """
        open("half.txt", "w").write("half")
        raise SystemExit(42)
        """,
        outputs=("half.txt", "never"),
    )
    record, _ = lead(plan)
    assert (record.status, record.exit_code) == ("failed", 42)
    assert "42" in record.reason
    assert (record.outputs_found, record.outputs_missing) == (("half.txt",), ("never",))
    assert RunFolder(root=runs / record.id).find_place("half.txt").read_text() == "half"


def test_outputs_within_outputs_are_collected_once(lead: Lead, plan_training: PlanTraining) -> None:
    plan = plan_training(
        """
        import os
        os.mkdir("outputs")
        open("outputs/a", "w").close()
        """,
        outputs=("outputs/a", "outputs", "outputs/b"),
    )
    record, _ = lead(plan)
    assert set(record.outputs_found) == {"outputs", "outputs/a"}
    assert record.outputs_missing == ("outputs/b",)


def test_stdout_and_stderr_keep_their_order(lead: Lead, plan_training: PlanTraining) -> None:
    plan = plan_training(
        """
        import sys
        for i in range(3000):
            print(i, file=(sys.stdout, sys.stderr)[i % 2])
        """
    )
    record, lines = lead(plan)
    assert record.status == "completed"
    assert lines == [b"%d\n" % i for i in range(3000)]


def test_traceback_is_in_the_log(lead: Lead, plan_training: PlanTraining) -> None:
    record, lines = lead(plan_training("raise ValueError('no such animal')"))
    assert (record.status, record.exit_code) == ("failed", 1)
    assert lines[-1] == b"ValueError: no such animal\n"


def test_kill_for_memory_is_explained(lead: Lead, plan_training: PlanTraining) -> None:
    plan = plan_training(
        "x = b'1' * (1 << 30)", resources=Resources(memory="64m", cpus=0.5, shm_size="8m")
    )
    record, _ = lead(plan)
    assert (record.status, record.exit_code) == ("out-of-memory", 137)
    assert "64m" in record.reason
    assert record.resources == {
        "cpus": 0.5,
        "memory_bytes": 64 << 20,
        "shm_bytes": 8 << 20,
        "gpus": 0,
    }


def test_time_limit_stops_the_script_and_keeps_its_outputs(
    lead: Lead, plan_training: PlanTraining
) -> None:
    plan = plan_training(
        """
        import time
        open("checkpoint", "w").write("1")
        time.sleep(600)
        """,
        outputs=("checkpoint",),
        max_duration="2s",
    )
    record, _ = lead(plan)
    assert (record.status, record.exit_code) == ("timed-out", 143)
    assert "2 s" in record.reason
    assert record.outputs_found == ("checkpoint",)


def test_engine_that_refuses_leaves_a_closed_record(
    engine: Engine, plan_training: PlanTraining, runs: Path
) -> None:
    with pytest.raises(EngineError) as caught:
        train(
            plan_training(""),
            engine=engine,
            image_id="sha256:" + "0" * 64,
            python=PYTHON,
            runs=runs,
        )
    assert caught.value.code == "engine.no-image"
    (record,) = list_runs(runs)
    assert record.status == "failed"
    assert "no image" in record.reason


def test_full_disk_is_told_and_leaves_neither_container_nor_half_an_output(
    engine: Engine, python_image: LoadedImage, plan_training: PlanTraining, small_disk: Path
) -> None:
    plan = plan_training("open('big', 'w').write('x' * 300_000)", outputs=("big",))
    with pytest.raises(EnvbuildError) as caught:
        train(plan, engine=engine, image_id=python_image.image_id, python=PYTHON, runs=small_disk)
    assert caught.value.code == "disk.full"
    (record,) = list_runs(small_disk)
    assert record.status == "failed"
    assert not _containers(engine, record.id)
    assert list(RunFolder(root=small_disk / record.id).outputs.iterdir()) == []


def test_source_that_changes_meanwhile_does_not_run(
    engine: Engine, python_image: LoadedImage, plan_training: PlanTraining, runs: Path
) -> None:
    plan = plan_training("print(1)")
    (plan.snapshot.root / "train.py").write_text("print(2)")
    with pytest.raises(RunError, match=r"train\.py"):
        train(plan, engine=engine, image_id=python_image.image_id, python=PYTHON, runs=runs)
    (record,) = list_runs(runs)
    assert (record.status, record.started) == ("failed", None)


def test_missing_script_makes_no_record(plan_training: PlanTraining, tmp_path: Path) -> None:
    from envbuild.run.plan import plan_train
    from envbuild.spec.model_running import Train

    (tmp_path / "source").mkdir()
    with pytest.raises(RunError) as caught:
        plan_train(Train(script="nope.py", source="source"), environment="lab", root=tmp_path)
    assert caught.value.code == "run.no-script"


SLOW = """
import os, signal, sys, time
os.mkdir("outputs")
open("outputs/checkpoint", "w").write("1")
print("training", flush=True)
time.sleep(600)
"""


@contextmanager
def _leading(
    engine: Engine, image: LoadedImage, root: Path, code: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A process that trains; gives it and the run's ID once the script is under way."""
    (root / "source").mkdir()
    (root / "source/train.py").write_text(code)
    command = [sys.executable, "-m", "tests.run.lead", "docker", image.image_id, PYTHON, str(root)]
    run_id = ""
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"training\n"
            (record,) = list_runs(root / "runs")
            run_id = record.id
            assert record.status == "running"
            assert _containers(engine, run_id)
            yield process, run_id
        finally:
            process.kill()
            process.communicate()
            for name in _containers(engine, run_id) if run_id else ():
                remove_container(engine, name)


def test_ctrl_c_stops_the_container_and_closes_the_record(
    engine: Engine, python_image: LoadedImage, tmp_path: Path
) -> None:
    with _leading(engine, python_image, tmp_path, SLOW) as (process, run_id):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode != 0
        assert b"KeyboardInterrupt" in errors
        assert not _containers(engine, run_id)
        record = load_record(tmp_path / "runs", run_id)
        assert record.status == "interrupted"
        assert record.outputs_found == ("outputs",)
        raw = (tmp_path / "runs" / run_id / "record.json").read_text()
        assert '"status": "interrupted"' in raw


def test_second_ctrl_c_still_leaves_nothing(
    engine: Engine, python_image: LoadedImage, tmp_path: Path
) -> None:
    stubborn = SLOW.replace("print(", "signal.signal(signal.SIGTERM, signal.SIG_IGN); print(")
    with _leading(engine, python_image, tmp_path, stubborn) as (process, run_id):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        _wait_until_gone(engine, run_id)
        assert load_record(tmp_path / "runs", run_id).status == "interrupted"


def test_killed_process_leaves_no_container_and_no_open_record(
    engine: Engine, python_image: LoadedImage, tmp_path: Path
) -> None:
    with _leading(engine, python_image, tmp_path, SLOW) as (process, run_id):
        process.kill()
        process.wait()
        assert load_record(tmp_path / "runs", run_id).status == "interrupted"
        _wait_until_gone(engine, run_id)
        raw = tmp_path / "runs" / run_id / "record.json"
        deadline = time.monotonic() + 60
        while '"status": "interrupted"' not in raw.read_text():
            assert time.monotonic() < deadline, "the guard did not close the record"
            time.sleep(0.05)


def _wait_until_gone(engine: Engine, run_id: str) -> None:
    deadline = time.monotonic() + 60
    while _containers(engine, run_id):
        assert time.monotonic() < deadline, "the container is still there"
        time.sleep(0.05)


def test_variable_that_a_reference_lacks_is_told_before_a_container_is_made(
    lead: Lead, plan_training: PlanTraining, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(
        plan_training("import os; print(len(os.environ['TOKEN']))"),
        variables={"TOKEN": "${OUR_SECRET}"},
    )
    with pytest.raises(RunError, match=r"not set \[run.variable\]"):
        lead(plan)
    assert not list_runs(runs)
    monkeypatch.setenv("OUR_SECRET", "hunter2")
    record, lines = lead(plan)
    assert (record.status, lines) == ("completed", [b"7\n"])
    assert not [p for p in runs.rglob("*") if p.is_file() and b"hunter2" in p.read_bytes()]
