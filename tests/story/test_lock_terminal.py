"""`lock` on a terminal: a row for each environment, and a clean end whatever happens."""

from __future__ import annotations

import re
import threading

import pytest

from tests.rig.pip_index import PipIndex
from tests.rig.project import Project
from tests.rig.terminal import Shown, show

NAMES = ("left", "right")
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture
def pair(image_project: Project, pip_index: PipIndex) -> Project:
    """Two environments to lock, and an index that takes its time to answer."""
    spec = image_project.root / "envs/demo.toml"
    text = spec.read_text()
    spec.unlink()
    for number, name in enumerate(NAMES, start=1):
        image_project.write(f"envs/{name}.toml", text.replace('"acme"', f'"acme", "lib=={number}"'))
        pip_index.add("lib", str(number))
    pip_index.watch = lambda: threading.Event().wait(0.4)
    return image_project


def _show(
    project: Project, *, columns: int = 100, term: str = "xterm", stop: bool = False
) -> Shown:
    environment = {**project.environment, "TERM": term}
    environment.pop("NO_COLOR")
    return show(
        project.command("-s", "lock"), cwd=project.root, env=environment, columns=columns,
        stop=lambda said: stop and "resolving" in said,
    )  # fmt: skip


def _check_end(shown: Shown) -> None:
    """The cursor is back, the last line is whole, and no row of the display is left behind."""
    assert "Traceback" not in shown.plain, shown.plain
    assert shown.raw.count(HIDE) == shown.raw.count(SHOW)
    assert shown.raw.rfind(SHOW) >= shown.raw.rfind(HIDE)
    assert shown.raw.endswith("\n")
    # After its last drawing the display is wiped: no spinner stands below that.
    end = shown.raw[shown.raw.rfind("\x1b[2K") :]
    assert not re.search(r"[⠀-⣿]", end), end


@pytest.mark.parametrize("columns", [100, 40])
def test_rows_of_several_environments_side_by_side(pair: Project, columns: int) -> None:
    shown = _show(pair, columns=columns)
    assert shown.code == 0, shown.plain
    together = [
        f for f in shown.frames if all(re.search(rf"^\S {n} ", f, re.MULTILINE) for n in NAMES)
    ]
    assert together, shown.raw
    for frame in together:
        rows = [line for line in frame.splitlines() if re.match(r"[⠀-⣿] ", line)]
        assert all(len(row) <= columns for row in rows), rows
    for name in NAMES:
        assert f"{name}: locked" in shown.plain
    _check_end(shown)


def test_clean_after_a_failure(pair: Project, pip_index: PipIndex) -> None:
    (file,) = [f for f in pip_index.files["lib"].values() if f.version == "2"]
    pip_index.remove(file)
    shown = _show(pair)
    assert shown.code == 1
    assert "left: locked" in shown.plain
    assert "right: failed [lock.unsatisfiable]" in shown.plain
    _check_end(shown)


def test_clean_after_ctrl_c(pair: Project) -> None:
    shown = _show(pair, stop=True)
    assert shown.code == 130, shown.plain
    assert not any((pair.root / "lockfiles" / name).exists() for name in NAMES)
    _check_end(shown)


def test_plain_lines_where_the_terminal_can_do_no_more(pair: Project) -> None:
    shown = _show(pair, term="dumb", columns=40)
    assert shown.code == 0, shown.plain
    assert HIDE not in shown.raw
    assert "\x1b[2K" not in shown.raw
    for name in NAMES:
        assert re.search(
            rf"^{name}: resolving Python packages for linux-64\r?$", shown.raw, re.MULTILINE
        )
        assert f"{name}: locked" in shown.raw
    assert shown.raw.endswith("\n")
