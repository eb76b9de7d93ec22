"""Run records: whole at every moment, never open after their process is gone."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from envbuild.engine.owner import find_owner
from envbuild.errors import RunError
from envbuild.run.record import (
    RunFolder,
    RunRecord,
    create_record,
    create_run,
    find_latest,
    find_time,
    list_runs,
    load_record,
    plan_loss,
)

ROOT = Path(__file__).parents[2]


def _record(runs: Path, environment: str = "iris", **changes: object) -> RunRecord:
    run_id, folder = create_run(runs)
    record = create_record(
        run_id, environment=environment, target="docker", command=("python", "train.py")
    )
    record = dataclasses.replace(record, **changes)  # type: ignore[arg-type]
    folder.write(record)
    return record


def _dead_owner() -> str:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        owner = find_owner(child.pid)
        child.kill()
    return owner


def test_record_comes_back_as_it_was(tmp_path: Path) -> None:
    record = _record(
        tmp_path,
        status="failed",
        arguments=("--x", "é"),
        git={"commit": None, "dirty": True},
        resources={"cpus": 0.5},
        started=find_time(),
        exit_code=3,
        outputs_missing=("outputs",),
        notes=("a", "b"),
        max_seconds=1.5,
    )
    assert load_record(tmp_path, record.id) == record
    assert list_runs(tmp_path) == (record,)


def test_names_that_are_no_text_can_be_recorded(tmp_path: Path) -> None:
    record = _record(tmp_path, notes=("`\udcff\udcfe` was left out", "caf\u00e9"))
    assert load_record(tmp_path, record.id) == record
    text = RunFolder(root=tmp_path / record.id).record_file.read_text(encoding="utf-8")
    assert "caf\u00e9" in text


def test_ids_are_unique_and_sort_by_age(tmp_path: Path) -> None:
    ids = [create_run(tmp_path)[0] for _ in range(200)]
    assert len(set(ids)) == 200
    stamps = [run_id.rpartition("-")[0] for run_id in ids]
    assert stamps == sorted(stamps)
    assert {len(run_id) for run_id in ids} == {28}


def test_beginning_of_an_id_is_enough_if_one_fits(tmp_path: Path) -> None:
    record = _record(tmp_path)
    assert load_record(tmp_path, record.id[:20]).id == record.id
    for text in ("", "2", record.id + "x"):
        if text == "2":
            _record(tmp_path)
        with pytest.raises(RunError) as caught:
            load_record(tmp_path, text)
        assert caught.value.code == "run.unknown"


def test_latest_run_of_the_environment_is_found(tmp_path: Path) -> None:
    assert find_latest(tmp_path, "iris") is None
    _record(tmp_path, status="completed")
    wanted = _record(tmp_path, status="completed")
    other = _record(tmp_path, "other", status="completed")
    last = _record(tmp_path, status="failed")
    latest = find_latest(tmp_path, "iris")
    assert latest is not None
    assert latest.id in {wanted.id, *_same_millisecond(tmp_path, wanted)}
    assert find_latest(tmp_path, "other") == other
    assert find_latest(tmp_path, "iris", status="failed") == last
    assert find_latest(tmp_path, "nothing") is None


def _same_millisecond(runs: Path, record: RunRecord) -> set[str]:
    stamp = record.id.rpartition("-")[0]
    return {r.id for r in list_runs(runs) if r.id.startswith(stamp) and r.status == record.status}


@pytest.mark.parametrize("status", ["planned", "running"])
def test_open_record_of_a_dead_process_reads_as_interrupted(tmp_path: Path, status: str) -> None:
    record = _record(tmp_path, status=status, owner=_dead_owner())
    read = load_record(tmp_path, record.id)
    assert read.status == "interrupted"
    assert "gone" in read.reason
    assert not read.is_open


def test_open_record_of_a_living_process_stays_open(tmp_path: Path) -> None:
    record = _record(tmp_path, status="running")
    assert load_record(tmp_path, record.id).is_open


def test_closed_record_of_a_dead_process_stays_as_it_is(tmp_path: Path) -> None:
    record = _record(tmp_path, status="completed", owner=_dead_owner())
    assert load_record(tmp_path, record.id).status == "completed"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 99, "status": "completed"}', '{"format": 1}']
)
def test_damaged_record_is_named_and_does_not_spoil_the_list(tmp_path: Path, text: str) -> None:
    good = _record(tmp_path)
    _, folder = create_run(tmp_path)
    folder.record_file.write_text(text)
    with pytest.raises(RunError) as caught:
        load_record(tmp_path, folder.root.name)
    assert caught.value.code == "run.record-damaged"
    assert list_runs(tmp_path) == (good,)


def test_record_of_a_newer_envbuild_with_more_fields_is_read(tmp_path: Path) -> None:
    record = _record(tmp_path)
    file = tmp_path / record.id / "record.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "later": 1}))
    assert load_record(tmp_path, record.id) == record


def test_guards_command_closes_an_open_record_and_no_other(tmp_path: Path) -> None:
    running = _record(tmp_path, status="running")
    done = _record(tmp_path, status="completed")
    folder = RunFolder(root=tmp_path / running.id)
    folder.work.mkdir()
    for record in (running, done):
        command = plan_loss(RunFolder(root=tmp_path / record.id))
        subprocess.run(command, check=True, cwd=ROOT)
    closed = load_record(tmp_path, running.id)
    assert closed.status == "interrupted"
    assert closed.finished
    assert not folder.work.exists()
    assert load_record(tmp_path, done.id) == done


@pytest.mark.parametrize(
    ("output", "place"),
    [
        ("outputs", "outputs"),
        ("outputs/model.pkl", "outputs/model.pkl"),
        ("logs/a.txt", "outputs/logs/a.txt"),
        ("model.pkl", "outputs/model.pkl"),
    ],
)
def test_outputs_have_one_place(tmp_path: Path, output: str, place: str) -> None:
    assert RunFolder(root=tmp_path).find_place(output) == tmp_path / place
