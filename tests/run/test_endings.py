"""Endings in words."""

from __future__ import annotations

import subprocess
import sys

import pytest

from envbuild.run.endings import explain_exit, explain_memory, find_exception, render_size


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "exit code 1"),
        (127, "not found"),
        (137, "SIGKILL"),
        (139, "native code"),
        (130, "SIGINT"),
        (255, "exit code 255"),
    ],
)
def test_exit_codes_have_words(code: int, words: str) -> None:
    assert words in explain_exit(code)
    assert str(code) in explain_exit(code)


@pytest.mark.parametrize(
    ("size", "text"),
    [(4 << 30, "4g"), (512 << 20, "512m"), (1536 << 20, "1536m"), (1000, "1000 bytes")],
)
def test_sizes_are_written_as_in_a_spec(size: int, text: str) -> None:
    assert render_size(size) == text
    assert text in explain_memory(size)


def _log(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    return f"starting\n{done.stderr}bye\n".splitlines()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemError('a: b')", "SystemError: a: b"),
        ("assert 0", "AssertionError"),
        ("def f(: pass", None),
        ("print(1)", None),
        (
            "try:\n  {}['x']\nexcept KeyError as e:\n  raise ValueError('no x') from e",
            "KeyError: 'x', then ValueError: no x",
        ),
        (
            "try:\n  {}['x']\nexcept KeyError:\n  int('y')",
            "KeyError: 'x', then ValueError: invalid literal for int() with base 10: 'y'",
        ),
        (
            "import traceback\ntry: 1 / 0\nexcept Exception: traceback.print_exc()\nint('')",
            "ValueError: invalid literal for int() with base 10: ''",
        ),
        (
            "raise SystemExit('E - Traceback (most recent call last):\\n  File\\nOSError: x')",
            "OSError: x",
        ),
    ],
)
def test_exception_of_the_last_traceback_is_found(code: str, found: str | None) -> None:
    assert find_exception(_log(code)) == found
