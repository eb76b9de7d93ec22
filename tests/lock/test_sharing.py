"""One solve for several who ask alike: results, errors, notes and stops, as each sees it."""

from __future__ import annotations

import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from envbuild.errors import EnvbuildError, LockError
from envbuild.kit.crew import Stopped, run_crew
from envbuild.kit.process import ToolExitError
from envbuild.kit.progress import Progress
from envbuild.lock.pip_job import PipJob
from envbuild.lock.sharing import NAMELESS, Sharing, make_key
from tests.rig.conda_solver import Notes

NAMES = ("a", "b", "c", "d")


class Solver:
    """Work that ends once all have asked for it, as `end` says."""

    def __init__(self, end: BaseException | None = None) -> None:
        self.end, self.runs = end, 0
        self.sharing, self.heard = Sharing(), Notes()
        self.all_here = threading.Barrier(len(NAMES))

    def work(self, progress: Progress) -> int:
        self.runs += 1
        progress.update(NAMELESS, "thinking")
        progress.note(f"{NAMELESS}: noted")
        if self.end is not None:
            raise self.end
        return self.runs

    def ask(self, name: str) -> int | BaseException:
        self.all_here.wait(20)
        try:
            return self.sharing.solve("key", self.work, task=name, progress=self.heard)
        except (EnvbuildError, Stopped, ZeroDivisionError, OSError) as error:
            return error

    def ask_all(self) -> dict[str, int | BaseException]:
        answers = run_crew(lambda name, _: self.ask(name), NAMES, threads=len(NAMES))
        return dict(zip(NAMES, answers, strict=True))


def test_one_does_it_and_all_get_it() -> None:
    solver = Solver()
    assert solver.ask_all() == dict.fromkeys(NAMES, 1)
    assert solver.runs == 1
    assert sorted(solver.heard.notes) == [f"{name}: noted" for name in NAMES]
    assert len(solver.heard.doings) == 1
    assert NAMELESS not in solver.heard.doings[0]


def test_another_key_is_another_solve() -> None:
    solver = Solver()
    for key in ("x", "y", "x"):
        solver.sharing.solve(key, solver.work, task="a", progress=solver.heard)
    assert solver.runs == 2


@pytest.mark.parametrize(
    "error",
    [
        LockError("lock.x", f"`{NAMELESS}` can't", hint=f"run `nox -s lock -- {NAMELESS}`"),
        ToolExitError(
            "tool.failed", f"`{NAMELESS}` can't", returncode=3, output="", log=Path("log"),
            hint=f"run `nox -s lock -- {NAMELESS}`",
        ),
    ],
)  # fmt: skip
def test_each_gets_an_error_of_its_own(error: EnvbuildError) -> None:
    answers = Solver(error).ask_all()
    assert len(set(map(id, answers.values()))) == len(NAMES)
    for name, found in answers.items():
        assert type(found) is type(error)
        assert isinstance(found, EnvbuildError)
        assert str(found) == (f"`{name}` can't [{error.code}]\n\nhint: run `nox -s lock -- {name}`")
        assert found.args == (error.code, f"`{name}` can't")
        assert getattr(found, "returncode", 3) == 3


def test_who_waits_for_a_bug_or_a_stop_ends_as_it_did() -> None:
    """Whichever is seen first, it says what happened."""
    for fault in (ZeroDivisionError(), NotADirectoryError(20, "Not a directory"), Stopped()):
        answers = Solver(fault).ask_all()
        assert set(answers.values()) == {fault}


def test_a_key_covers_all_of_pips_request_but_for_whom_and_where() -> None:
    given: dict[str, Any] = {field.name: field.name for field in fields(PipJob)}
    job = PipJob(**given)
    assert given.keys() - job.parts.keys() == {"task", "work", "logs", "progress"}


def test_keys_tell_values_apart_and_not_their_order_where_there_is_none() -> None:
    assert make_key({"b": 1, "a": frozenset({"x", "y"})}) == make_key({"a": {"y", "x"}, "b": 1})
    assert make_key("a", "b") != make_key("b", "a")
    assert make_key(("a", "b")) != make_key("ab")
    assert make_key(None) != make_key("")
