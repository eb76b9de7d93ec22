"""What a session writes reaches its reader, or ends quietly when there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOXFILE = """
import nox
from envbuild.sessions.guard import guarded

@nox.session(python=False)
def talk(session):
    guarded(lambda: WORK, session.error)
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    return [sys.executable, "-m", "nox", "-f", str(tmp_path / "noxfile.py"), "-s", "talk"]


def test_reader_that_goes_away_ends_the_session_without_a_traceback(
    tmp_path: Path, command: list[str]
) -> None:
    work = "[print(number, flush=True) for number in range(1_000_000)]"
    (tmp_path / "noxfile.py").write_text(NOXFILE.replace("WORK", work))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 141
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def test_name_that_is_no_text_can_be_shown(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "noxfile.py").write_text(NOXFILE.replace("WORK", "print('a\\udcffb')"))
    run = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
    )
    assert "a\\udcffb" in run.stdout


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        ("OSError(28, 'No space left on device')", "system.disk-full"),
        ("OSError(122, 'Disk quota exceeded')", "system.quota"),
        ("FileNotFoundError(2, 'No usable temporary directory found in /tmp')", "system.error"),
        ("PermissionError(13, 'Permission denied', '/x/y')", "system.permission"),
    ],
)
def test_a_refusal_of_the_system_is_no_traceback(
    tmp_path: Path, command: list[str], trouble: str, code: str
) -> None:
    work = f"(_ for _ in ()).throw({trouble})"
    (tmp_path / "noxfile.py").write_text(NOXFILE.replace("WORK", work))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"[{code}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bug_keeps_its_traceback(tmp_path: Path, command: list[str]) -> None:
    work = "(_ for _ in ()).throw(OSError('something else'))"
    (tmp_path / "noxfile.py").write_text(NOXFILE.replace("WORK", work))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
