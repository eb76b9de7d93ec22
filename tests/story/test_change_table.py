"""What `lock` prints of what moved: everything that fits a screen, and how much more there is."""

from __future__ import annotations

import pytest

from envbuild.lock.changes import Change, Kind
from envbuild.sessions.lock import print_changes


def make_changes(count: int, kind: Kind, manager: str = "pip") -> tuple[Change, ...]:
    return tuple(
        Change(
            platforms=("linux-64",), manager=manager, name=f"{manager}-{number:02}", kind=kind,
            old="" if kind == "added" else "1.0", new="1.1",
        )
        for number in range(count)
    )  # fmt: skip


@pytest.fixture(autouse=True)
def at_a_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)


def test_what_fits_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_changes({"cpu": make_changes(40, "added")})
    shown = capsys.readouterr().out
    assert "pip-39" in shown
    assert "more" not in shown


def test_many_upgrades_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_changes({"cpu": make_changes(50, "upgraded")})
    shown = capsys.readouterr().out
    assert "pip-39" in shown
    assert "pip-40" not in shown
    assert "... and 10 more" in shown


def test_a_first_lock_shows_a_few_and_those_of_python_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_changes({"cpu": (*make_changes(50, "added", "debian"), *make_changes(3, "added"))})
    shown = capsys.readouterr().out
    assert all(f"pip-0{number}" in shown for number in range(3))
    assert "debian-06" in shown
    assert "debian-07" not in shown
    assert "... and 43 more" in shown


def test_a_log_has_everything(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    print_changes({"cpu": make_changes(50, "added")})
    assert "pip-49" in capsys.readouterr().out
