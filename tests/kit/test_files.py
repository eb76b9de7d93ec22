"""Promises of `kit.files`: whole or absent, whoever fails and whoever else writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from envbuild.kit.files import atomic_folder, atomic_writer, exclusive, write_atomic


def write_half(path: Path, error: type[BaseException]) -> None:
    with atomic_writer(path) as file:
        file.write(b"half")
        raise error


def make_half(path: Path, error: type[BaseException]) -> None:
    with atomic_folder(path) as work:
        (work / "half").write_bytes(b"half")
        raise error


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    with atomic_writer(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_writer_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(error):
        write_half(path, error)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_bytes_are_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert write_atomic(path, "ü") is True
    inode = path.stat().st_ino
    assert write_atomic(path, "ü".encode()) is False
    assert path.stat().st_ino == inode
    assert write_atomic(path, "other") is True
    assert path.read_text() == "other"


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "folder"
    with atomic_folder(path) as work:
        (work / "file").write_text("x")
        assert not path.exists()
    assert [p.name for p in path.iterdir()] == ["file"]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_folder_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        make_half(tmp_path / "folder", error)
    assert list(tmp_path.iterdir()) == []


def test_the_faster_folder_stays(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with atomic_folder(path) as work:
        (work / "mine").write_text("")
        path.mkdir()
        (path / "theirs").write_text("")
    assert [p.name for p in path.iterdir()] == ["theirs"]
    assert list(tmp_path.iterdir()) == [path]


HALF = """
import sys
from pathlib import Path
from envbuild.kit.files import atomic_writer
with atomic_writer(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with subprocess.Popen(
        [sys.executable, "-c", HALF, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half\n"
        child.send_signal(signal.SIGKILL)
    assert path.read_bytes() == b"before"


COUNT = """
import sys
from pathlib import Path
from envbuild.kit.files import exclusive
file = Path(sys.argv[1])
for _ in range(100):
    with exclusive(file.with_suffix(".lock")):
        file.write_text(str(int(file.read_text()) + 1))
"""


def test_a_lock_holds_against_processes(tmp_path: Path) -> None:
    file = tmp_path / "count"
    file.write_text("0")
    children = [subprocess.Popen([sys.executable, "-c", COUNT, str(file)]) for _ in range(3)]
    assert [child.wait(120) for child in children] == [0, 0, 0]
    assert file.read_text() == "300"


def test_a_lock_holds_against_threads(tmp_path: Path) -> None:
    count = 0

    def work() -> None:
        nonlocal count
        for _ in range(50):
            with exclusive(tmp_path / "lock"):
                before = count
                os.sched_yield()
                count = before + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 200


LOCKED = """
import sys
from pathlib import Path
from envbuild.kit.files import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_frees_its_lock(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LOCKED, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
        with exclusive(tmp_path / "lock"):
            assert child.returncode == -signal.SIGKILL
