"""Promises of `kit.process`: output is kept, secrets are not, and no child outlives us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from envbuild.errors import ToolError
from envbuild.kit.process import ToolExitError, run_tool, stop_tools, stream_tool


def alive(pid: int) -> bool:
    """Return whether a process runs; one that only waits for its parent's notice does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_for(path: Path) -> str:
    """Return the text of a file as soon as there is one."""
    for _ in range(500):
        if path.exists() and path.read_text().endswith("\n"):
            return path.read_text()
        time.sleep(0.02)
    raise AssertionError(f"{path} does not appear")


def test_stdout_comes_back_and_nothing_is_kept(tmp_path: Path) -> None:
    out = run_tool(["sh", "-c", "echo yes; echo no >&2"], tool="sh", logs=tmp_path / "logs")
    assert out == "yes\n"
    assert not (tmp_path / "logs").exists()


def test_bytes_that_are_no_text_do_not_end_the_run(tmp_path: Path) -> None:
    assert run_tool(["printf", r"a\377b"], tool="printf", logs=tmp_path) == "a\ufffdb"


def test_a_failure_keeps_the_whole_output_in_a_file(tmp_path: Path) -> None:
    script = "seq 1 5000; echo 'no such package.' >&2; exit 3"
    with pytest.raises(ToolExitError) as caught:
        run_tool(["sh", "-c", script], tool="pip compile", logs=tmp_path / "logs")
    error = caught.value
    assert (error.code, error.returncode) == ("tool.failed", 3)
    assert "5000\n" in error.output
    assert error.message.endswith("ends with: no such package")
    assert str(error.log) in error.message
    kept = error.log.read_text()
    assert kept.startswith("$ sh -c ")
    assert "\n4999\n" in kept
    assert "no such package." in kept


def test_a_killed_tool_says_so(tmp_path: Path) -> None:
    with pytest.raises(ToolExitError, match="was ended by signal 9") as caught:
        run_tool(["sh", "-c", "kill -9 $$"], tool="sh", logs=tmp_path)
    assert caught.value.returncode == -9


def test_secrets_are_kept_nowhere(tmp_path: Path) -> None:
    secret = "p@ss/word"
    script = f"echo using {secret} https://me:p%40ss%2Fword@h.example.com/t/tk-99/x; exit 1"
    with pytest.raises(ToolExitError) as caught:
        run_tool(["sh", "-c", script], tool="sh", logs=tmp_path, secrets=[secret, "", "p@ss"])
    for text in (str(caught.value), caught.value.output, caught.value.log.read_text()):
        assert "ss/word" not in text
        assert "ss%2Fword" not in text
        assert "tk-99" not in text
    assert "using ***" in caught.value.output


def test_the_environment_and_the_folder_are_the_childs(tmp_path: Path) -> None:
    out = run_tool(
        ["/bin/sh", "-c", 'echo "$A:$HOME"; pwd; cat'],
        tool="sh",
        env={"A": "1"},
        cwd=tmp_path,
        logs=tmp_path,
    )
    assert out == f"1:\n{tmp_path}\n"


def test_a_tool_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="`mamba` is not installed") as caught:
        run_tool([str(tmp_path / "mamba")], tool="mamba", logs=tmp_path)
    assert caught.value.code == "tool.missing"


def test_a_tool_that_is_not_executable_is_named(tmp_path: Path) -> None:
    (tmp_path / "mamba").write_text("#!/bin/sh\n")
    with pytest.raises(ToolError, match="not an executable file") as caught:
        run_tool([str(tmp_path / "mamba")], tool="mamba", logs=tmp_path)
    assert caught.value.code == "tool.refused"


STUBBORN = "trap '' TERM INT; (trap '' TERM INT; sleep 300) & echo $$ $! > {file}; wait; sleep 300"
"""A tool that has a child of its own, and both of them ignore polite requests."""


def test_ctrl_c_ends_the_tool_and_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = textwrap.dedent(f"""
        from pathlib import Path
        from envbuild.kit.process import run_tool
        run_tool(["sh", "-c", {STUBBORN.format(file=pids)!r}], tool="sh", logs=Path("logs"))
    """)
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    children = [int(pid) for pid in wait_for(pids).split()]
    parent.send_signal(signal.SIGINT)
    _, stderr = parent.communicate(timeout=60)
    assert "KeyboardInterrupt" in stderr
    assert [pid for pid in children if alive(pid)] == []
    assert not (tmp_path / "logs").exists()


def test_tools_of_other_threads_can_be_stopped(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    caught: list[ToolExitError] = []

    def run() -> None:
        try:
            run_tool(["sh", "-c", f"echo $$ > {pids}; sleep 300"], tool="sh", logs=tmp_path)
        except ToolExitError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    pid = int(wait_for(pids))
    stop_tools()
    thread.join(30)
    assert not thread.is_alive()
    assert not alive(pid)
    assert caught[0].returncode == -signal.SIGTERM


def test_a_child_has_no_terminal_to_wait_for(tmp_path: Path) -> None:
    assert run_tool(["cat"], tool="cat", logs=tmp_path) == ""
    assert run_tool(["sh", "-c", "ps -o sid= -p $$"], tool="ps", logs=tmp_path).strip() != str(
        os.getsid(0)
    )


def test_streamed_lines_come_as_they_are_said(tmp_path: Path) -> None:
    """The tool waits for a file that is only made when its first line has come."""
    go, lines = tmp_path / "go", list[str]()

    def hear(line: str) -> None:
        lines.append(line)
        go.touch()

    code = f"echo one; while [ ! -e {go} ]; do sleep 0.05; done; echo two hunter2 >&2"
    log = stream_tool(
        ["sh", "-c", code], tool="sh", logs=tmp_path / "logs", secrets=["hunter2"], on_line=hear
    )
    assert lines == ["one", "two ***"]
    assert log.read_text().splitlines()[1:] == lines


def test_streamed_failure_is_like_any_other(tmp_path: Path) -> None:
    with pytest.raises(ToolExitError, match="failed with exit code 3") as caught:
        stream_tool(["sh", "-c", "echo no; exit 3"], tool="sh", logs=tmp_path)
    assert caught.value.output == "no\n"
    assert caught.value.log.read_text().endswith("no\n")
    assert str(caught.value.log) in caught.value.message


def test_error_of_who_listens_ends_the_tool(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def hear(_: str) -> None:
        raise ValueError("enough")

    code = f"echo $$ > {pids}; echo one; sleep 300"
    with pytest.raises(ValueError, match="enough"):
        stream_tool(["sh", "-c", code], tool="sh", logs=tmp_path / "logs", on_line=hear)
    assert not alive(int(pids.read_text()))
