"""What moved as Markdown, compared with `changes.md`.

To write that file anew: `python -m tests.lock.test_change_report`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from envbuild.lock.change_report import render_markdown
from envbuild.lock.changes import Change

GOLDEN = Path(__file__).with_name("changes.md")

RICH = Change(
    platforms=("linux-64", "osx-64"), manager="pip", name="rich", kind="upgraded",
    old="13.9", new="14.0",
)  # fmt: skip
MANY = tuple(
    replace(RICH, name=f"package-{number}", kind="added", old="", new=f"{number}.0")
    for number in range(16)
)
MOVED = {
    "cpu": (RICH, replace(RICH, name="numpy", manager="conda", new="1|2")),
    "same": (),
    "gpu": MANY,
    "still": (),
}


def test_report_is_as_it_was() -> None:
    assert render_markdown(MOVED) == GOLDEN.read_text()


def test_nothing_that_moved_is_one_line() -> None:
    assert render_markdown({"cpu": ()}) == "1 lock did not move.\n"


def test_what_is_too_long_is_named() -> None:
    text = render_markdown({"cpu": (RICH,), "gpu": MANY}, limit=500)
    assert "`rich`" in text or "rich (pip)" in text
    assert "package-3" not in text
    assert "Too long to be shown: `gpu`." in text


@given(
    count=st.integers(0, 60),
    text=st.text(max_size=40),
    limit=st.integers(1000, 20_000),
)
def test_report_fits_and_each_row_has_all_its_cells(count: int, text: str, limit: int) -> None:
    moved = {f"env-{number}": (replace(RICH, new=text),) * (number % 20) for number in range(count)}
    report = render_markdown(moved, limit=limit)
    assert len(report) <= limit
    rows = [line for line in report.splitlines() if line.startswith("| rich")]
    assert all(row.replace(r"\|", "").count("|") == 6 for row in rows)


if __name__ == "__main__":
    GOLDEN.write_text(render_markdown(MOVED))
