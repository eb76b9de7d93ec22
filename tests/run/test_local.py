"""Runs without a container: the same record, and no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from envbuild.errors import EnvbuildError, RunError
from envbuild.run.local import train_local
from envbuild.run.record import RunFolder, RunRecord, list_runs, load_record
from envbuild.spec.model_running import Resources
from tests.run.conftest import PlanTraining

ROOT = Path(__file__).parents[2]


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A folder whose `bin/python` is this interpreter."""
    folder = tmp_path / "prefix"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").symlink_to(sys.executable)
    return folder


def test_script_runs_in_a_copy_and_its_outputs_stay(
    plan_training: PlanTraining, prefix: Path, runs: Path
) -> None:
    plan = plan_training(
        """
        import os, sys
        print(sys.executable, os.environ["COLOUR"], sys.argv[1:], os.environ["PATH"].split(":")[0])
        print("PYTHONPATH" in os.environ, os.getcwd())
        os.mkdir("outputs")
        open("outputs/model", "w").write("weights")
        os.symlink("/etc/passwd", "outputs/far")
        os.symlink("model", "outputs/near")
        os.mkfifo("outputs/pipe")
        raise SystemExit(5)
        """,
        arguments=("-x",),
        outputs=("outputs", "never"),
        resources=Resources(memory="1g"),
    )
    lines: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", "/elsewhere")
        record = train_local(plan, prefix=prefix, runs=runs, sink=lines.append)
    folder = RunFolder(root=runs / record.id)
    bin_folder = str(prefix / "bin")
    assert lines[0].decode() == f"{bin_folder}/python blue ['-x'] {bin_folder}\n"
    assert lines[1].decode() == f"False {folder.work}\n"
    assert folder.log_file.read_bytes() == b"".join(lines)
    assert (record.status, record.exit_code, record.target) == ("failed", 5, "local")
    assert sorted(p.name for p in folder.outputs.iterdir()) == ["model", "near"]
    assert (folder.outputs / "near").read_text() == "weights"
    assert record.outputs_missing == ("never",)
    assert [note for note in record.notes if "limits" in note]
    assert len([note for note in record.notes if "left out" in note]) == 2
    assert not folder.work.exists()
    assert sorted(p.name for p in plan.snapshot.root.iterdir()) == ["train.py"]
    assert load_record(runs, record.id) == record


def test_stdout_and_stderr_keep_their_order(
    plan_training: PlanTraining, prefix: Path, runs: Path
) -> None:
    plan = plan_training(
        """
        import sys
        for i in range(1000):
            print(i, file=(sys.stdout, sys.stderr)[i % 2])
        """
    )
    lines: list[bytes] = []
    assert train_local(plan, prefix=prefix, runs=runs, sink=lines.append).status == "completed"
    assert lines == [b"%d\n" % i for i in range(1000)]


def test_time_limit_ends_the_whole_group(
    plan_training: PlanTraining, prefix: Path, runs: Path
) -> None:
    plan = plan_training(
        """
        import os, time
        if os.fork() == 0:
            print("child", os.getpid(), flush=True)
        time.sleep(600)
        """,
        max_duration="2s",
    )
    lines: list[bytes] = []
    record = train_local(plan, prefix=prefix, runs=runs, sink=lines.append)
    assert (record.status, record.exit_code) == ("timed-out", 143)
    assert _is_dead(int(lines[0].split()[1]))


def test_child_that_outlives_the_script_is_ended(
    plan_training: PlanTraining, prefix: Path, runs: Path
) -> None:
    plan = plan_training(
        """
        import os, time
        child = os.fork()
        if child == 0:
            time.sleep(600)
        print(child)
        """
    )
    lines: list[bytes] = []
    record = train_local(plan, prefix=prefix, runs=runs, sink=lines.append)
    assert record.status == "completed"
    assert _is_dead(int(lines[0]))


def test_daemon_that_left_the_group_is_ended(
    plan_training: PlanTraining, prefix: Path, runs: Path
) -> None:
    plan = plan_training(
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                print(os.getpid(), flush=True)
                while True:
                    print("still here", flush=True)
                    time.sleep(0.01)
            os._exit(0)
        time.sleep(1)
        """
    )
    lines: list[bytes] = []
    record = train_local(plan, prefix=prefix, runs=runs, sink=lines.append)
    try:
        assert record.status == "completed"
        assert _is_dead(int(lines[0]))
    finally:
        if not _is_dead_now(int(lines[0])):
            os.kill(int(lines[0]), signal.SIGKILL)


def test_pipe_that_a_stranger_holds_open_is_given_up(
    plan_training: PlanTraining, prefix: Path, runs: Path
) -> None:
    plan = plan_training(
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            os.environ.clear()
            code = "import os, time; print(os.getpid(), flush=True)\\nwhile True: print('x' * 999)"
            os.execve(os.path.realpath("/proc/self/exe"), ["python", "-c", code], {})
        time.sleep(1)
        """
    )
    lines: list[bytes] = []
    record = train_local(plan, prefix=prefix, runs=runs, sink=lines.append)
    assert record.status == "completed"
    assert _is_dead(int(lines[0])), "nobody reads what it writes any more"


def test_links_in_outputs_lose_nothing_else(
    plan_training: PlanTraining, prefix: Path, runs: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model").write_text("of somebody else")
    plan = plan_training(
        f"""
        import os
        os.mkdir("outputs")
        open("outputs/model", "w").write("weights")
        os.symlink("b", "outputs/a")
        os.symlink("a", "outputs/b")
        open(b"outputs/\\xff", "w").write("odd")
        os.symlink("/nowhere", b"outputs/\\xfe")
        os.symlink({str(elsewhere)!r}, "far")
        """,
        outputs=("outputs", "far/model"),
    )
    record = train_local(plan, prefix=prefix, runs=runs)
    assert (record.status, record.outputs_missing) == ("completed", ("far/model",))
    folder = RunFolder(root=runs / record.id)
    assert (folder.outputs / "model").read_text() == "weights"
    assert sorted(os.fsencode(p.name) for p in folder.outputs.iterdir()) == [b"model", b"\xff"]
    assert (elsewhere / "model").exists()
    assert len(record.notes) == 4, record.notes
    assert load_record(runs, record.id) == record


def test_inputs_tell_every_change_of_a_run(plan_training: PlanTraining) -> None:
    code = "print(1)"
    plans = [
        plan_training(code),
        plan_training(code, arguments=("x",)),
        plan_training(code, outputs=("o",)),
        plan_training(code, max_duration="5s"),
        plan_training(code, resources=Resources(memory="1g")),
        plan_training(code, resources=Resources(cpus=1.5)),
        plan_training(code, resources=Resources(gpus=1)),
        plan_training(code, resources=Resources(shm_size="1g")),
        plan_training("print(2)"),
    ]
    assert len({plan.inputs for plan in plans}) == len(plans)
    assert plan_training(code).inputs == plans[0].inputs


def _is_dead(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in {"Z", "X"}:
            return True
        time.sleep(0.02)
    return False


def test_signal_of_the_script_is_told_as_a_shell_would(
    plan_training: PlanTraining, prefix: Path, runs: Path
) -> None:
    plan = plan_training("import os; os.kill(os.getpid(), 11)")
    record = train_local(plan, prefix=prefix, runs=runs)
    assert (record.status, record.exit_code) == ("failed", 139)
    assert "SIGSEGV" in record.reason


def test_sink_that_fails_ends_the_script(
    plan_training: PlanTraining, prefix: Path, runs: Path
) -> None:
    def fail(line: bytes) -> None:
        raise BrokenPipeError("nobody listens")

    plan = plan_training("import time; print('x', flush=True); time.sleep(600)")
    with pytest.raises(BrokenPipeError):
        train_local(plan, prefix=prefix, runs=runs, sink=fail)
    (record,) = list_runs(runs)
    assert record.status == "failed"


def test_full_disk_is_told_and_ends_the_script(
    plan_training: PlanTraining, prefix: Path, small_disk: Path
) -> None:
    code = "import os; print(os.getpid()); print('x' * 300_000, flush=True)"
    lines: list[bytes] = []
    with pytest.raises(EnvbuildError) as caught:
        train_local(
            plan_training(f"{code}; import time; time.sleep(600)"),
            prefix=prefix,
            runs=small_disk,
            sink=lines.append,
        )
    assert caught.value.code == "disk.full"
    assert _is_dead(int(lines[0]))


def test_prefix_without_python_is_named(
    plan_training: PlanTraining, tmp_path: Path, runs: Path
) -> None:
    with pytest.raises(RunError, match="nothing") as caught:
        train_local(plan_training(""), prefix=tmp_path / "nothing", runs=runs)
    assert caught.value.code == "run.no-python"
    assert not runs.exists()


SLOW = """
import os, time
os.mkdir("outputs")
print("training", os.getpid(), flush=True)
time.sleep(600)
"""
Start = Callable[[], tuple[subprocess.Popen[bytes], int, RunRecord]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_leader_leaves_no_process_and_no_open_record(
    prefix: Path, tmp_path: Path, number: int
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/train.py").write_text(SLOW)
    command = [sys.executable, "-m", "tests.run.lead", "local", str(prefix), "-", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        word, pid = process.stdout.readline().split()
        try:
            assert word == b"training"
            process.send_signal(number)
            process.communicate(timeout=60)
            assert process.returncode != 0
            assert _is_dead(int(pid))
        finally:
            if not _is_dead_now(int(pid)):
                os.kill(int(pid), signal.SIGKILL)
    (record,) = list_runs(tmp_path / "runs")
    assert record.status == "interrupted"
    folder = RunFolder(root=tmp_path / "runs" / record.id)
    deadline = time.monotonic() + 30
    while folder.work.exists() or '"running"' in folder.record_file.read_text():
        assert time.monotonic() < deadline, "the guard did not clean up"
        time.sleep(0.05)
    assert record.outputs_found == (("outputs",) if number == signal.SIGINT else ())


def _is_dead_now(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_reference_to_a_variable_reaches_the_script_and_no_record(
    plan_training: PlanTraining, prefix: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_SECRET", "hunter2")
    plan = plan_training("import os; print(len(os.environ['TOKEN']), os.environ['TOKEN'][:2])")
    plan = replace(plan, variables={"TOKEN": "a-${OUR_SECRET}"})
    lines: list[bytes] = []
    record = train_local(plan, prefix=prefix, runs=runs, sink=lines.append)
    assert (record.status, lines) == ("completed", [b"9 a-\n"])
    files = [path for path in runs.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"hunter2" in path.read_bytes()]
    monkeypatch.setenv("OUR_SECRET", "")
    before = list_runs(runs)
    with pytest.raises(RunError, match=r"`env.TOKEN` refers to .* `OUR_SECRET`, which is empty"):
        train_local(plan, prefix=prefix, runs=runs)
    assert list_runs(runs) == before
