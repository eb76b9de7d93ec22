"""The specs of `tests/specs`: the right ones load, and the wrong ones say why not, word for word.

`python -m tests.spec.golden` remakes the expected texts.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuild.errors import SpecError
from envbuild.spec.model import EnvSpec
from envbuild.spec.reader import read_table
from envbuild.spec.rules import RULES, check_rules
from envbuild.spec.toml import parse_toml
from tests.spec.golden import INVALID, VALID, parse_file, render_refusal

WRONG = sorted(INVALID.glob("*.toml"))
RIGHT = sorted(VALID.glob("*.toml"))


def name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", RIGHT, ids=name)
def test_right_spec_loads(path: Path) -> None:
    assert parse_file(path).python


@pytest.mark.parametrize("path", WRONG, ids=name)
def test_wrong_spec_is_refused_with_the_expected_words(path: Path) -> None:
    assert render_refusal(path) == path.with_suffix(".txt").read_text(encoding="utf-8")


def test_every_expected_text_belongs_to_a_spec() -> None:
    texts = {path.stem for path in INVALID.glob("*.txt")}
    assert texts == {path.stem for path in WRONG}


def find_problems(path: Path) -> SpecError:
    with pytest.raises(SpecError) as caught:
        parse_file(path)
    return caught.value


@pytest.mark.parametrize("path", WRONG, ids=name)
def test_every_message_says_what_is_right(path: Path) -> None:
    """An expectation with an example, the line to add, or the names that are known."""
    for problem in find_problems(path).problems:
        assert not problem.message.endswith(".")
        if problem.key:
            assert "`" in problem.message
            words = ("expected", "missing", "unknown key", "such as")
            assert any(word in problem.message for word in words), problem


@pytest.mark.parametrize("path", WRONG, ids=name)
def test_no_secret_is_repeated(path: Path) -> None:
    assert "hunter2" not in str(find_problems(path))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.check.__name__)
def test_every_rule_has_a_spec_that_breaks_it(rule: object) -> None:
    broken = set()
    for path in WRONG:
        if path.stem.startswith("rule-"):
            _, table = parse_toml(path.read_bytes(), where=path.name)
            spec, _ = read_table(EnvSpec, table)
            broken |= {r.check for r in RULES if spec and list(r.check(spec))}
    assert getattr(rule, "check", None) in broken


def test_rule_is_silent_where_a_value_is_in_doubt() -> None:
    spec, _ = read_table(EnvSpec, {"python": "3.11", "smoke": {}})
    assert spec is not None
    assert [problem.key for problem in check_rules(spec)] == ["smoke"]
    assert check_rules(spec, doubtful=(("smoke", "command", 0),)) == []
    assert check_rules(spec, doubtful=(("smoke",),)) == []
    assert check_rules(spec, doubtful=(("train",),)) != []
