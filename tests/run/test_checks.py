"""Entry scripts that the scoring server would refuse are found without starting it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from envbuild.run.checks import SERVER, check_entry_script

PACKAGES = frozenset({"numpy", SERVER})
GOOD = "def init(): pass\ndef run(data): return data\n"


def _failed(tmp_path: Path, code: str, **more: object) -> list[str]:
    path = tmp_path / "score.py"
    path.write_text(textwrap.dedent(code))
    checks = check_entry_script(path, packages=PACKAGES, **more)  # type: ignore[arg-type]
    return [f"{check.name}: {check.detail}" for check in checks if not check.passed]


@pytest.mark.parametrize(
    "code",
    [
        GOOD,
        "def init(x=1): pass\ndef run(a, request_headers): pass",
        "def init(): pass\ndef run(a, b=1, *, c=2): pass",
        "def init(): pass\ndef run(*, data): pass",
        "from elsewhere import init, run",
        "from elsewhere import *",
        "import elsewhere\ninit = elsewhere.start\nrun: object = elsewhere.score",
        "init, run = (lambda: None), (lambda data: data)",
        "try:\n    from a import init\nexcept ImportError:\n    def init(): pass\ndef run(d): pass",
        "if True:\n    def init(): pass\nwith open('x') as f:\n    def run(d): pass",
        "match 1:\n    case 1:\n        def init(): pass\ndef run(d): pass",
        "def init(): pass\n@input_schema('a', b)\n@rawhttp\ndef run(*args, **kwargs): pass",
        "class init: pass\nclass run: pass",
        "# -*- coding: latin-1 -*-\ndef init(): pass\ndef run(d): pass",
    ],
)
def test_good_scripts_pass(tmp_path: Path, code: str) -> None:
    assert _failed(tmp_path, code) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def run(d): pass", "no init()"),
        ("def init(): pass", "no run()"),
        ("def init(): pass\ndef f():\n    def run(d): pass", "no run()"),
        ("class A:\n    def init(self): pass\n    def run(self, d): pass", "no init()"),
        ("def init(): pass\ndef run(): pass", "needs a parameter"),
        ("def init(): pass\ndef run(request_headers): pass", "needs a parameter"),
        ("def init(): pass\ndef run(*args): pass", "*args"),
        ("def init(): pass\ndef run(a, **k): pass", "**kwargs"),
        ("def init(): pass\ndef run(a, /): pass", "positional-only"),
        ("def init(): pass\ndef run(a, b): pass", "`b`"),
        ("def init(): pass\ndef run(a, *, b): pass", "`b`"),
        ("def init(): pass\nasync def run(a): pass", "async"),
        ("async def init(): pass\ndef run(a): pass", "async"),
        ("def init(path): pass\ndef run(a): pass", "`path`"),
        ("def run(d): pass\ndef init(): pass\ndef run(): pass", "needs a parameter"),
        ("def init(:\n", "line 1"),
        ("\n\ndef init():\n  x\n y\n", "line 5"),
        ("def init(): pass\0", "score.py"),
    ],
)
def test_bad_scripts_fail_with_the_reason(tmp_path: Path, code: str, words: str) -> None:
    (failed, *_) = _failed(tmp_path, code)
    assert words in failed


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    assert len(_failed(tmp_path, "x = 1")) == 2


def test_missing_script_is_named(tmp_path: Path) -> None:
    check, _ = check_entry_script(tmp_path / "nope.py", packages=PACKAGES)
    assert not check.passed
    assert "nope.py" in check.detail


@pytest.mark.parametrize(
    ("packages", "passed"),
    [
        ({SERVER}, True),
        ({"Azureml_Inference.Server-HTTP"}, True),
        ({"azureml-inference-server-http-fake"}, False),
        ({"azureml-defaults"}, False),
        (set(), False),
    ],
)
def test_server_must_be_locked_by_its_whole_name(
    tmp_path: Path, packages: set[str], passed: bool
) -> None:
    path = tmp_path / "score.py"
    path.write_text(GOOD)
    checks = check_entry_script(path, packages=packages)
    assert checks[-1].passed is passed


def test_syntax_is_that_of_the_environments_python(tmp_path: Path) -> None:
    code = GOOD + "match 1:\n    case 1: pass\n"
    assert _failed(tmp_path, code, python_minor="3.11") == []
    (failed,) = _failed(tmp_path, code, python_minor="3.9")
    assert "Python 3.10" in failed


def test_syntax_of_a_newer_python_is_not_judged(tmp_path: Path) -> None:
    assert _failed(tmp_path, GOOD + "some new syntax\n", python_minor="3.99") == []
