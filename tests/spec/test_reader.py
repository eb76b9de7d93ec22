"""The reader: types to tables and back, whatever the table says."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envbuild.spec.keys import KeyPath, parse_key, render_key
from envbuild.spec.model import EnvSpec
from envbuild.spec.model_running import Resources
from envbuild.spec.reader import read_draft, read_table
from envbuild.spec.rules import check_rules
from envbuild.spec.settings import Settings
from envbuild.spec.shapes import Many, Record, Shape, Table, find_record
from tests.spec.strategies import TEXTS, right_tables, wild_tables

SPEC = find_record(EnvSpec)
SLOW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)


def write_table(value: object) -> object:
    """Return what a parser would give for the value that the reader made: the way back."""
    if dataclasses.is_dataclass(value):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {n.replace("_", "-"): write_table(v) for n, v in pairs if v is not None}
    if isinstance(value, tuple):
        return [write_table(item) for item in value]
    if isinstance(value, dict):
        return {key: write_table(item) for key, item in value.items()}
    return value


@SLOW
@given(right_tables(SPEC))
def test_right_spec_survives_writing_and_reading(table: dict[str, Any]) -> None:
    spec, problems = read_table(EnvSpec, table)
    assert problems == []
    written = write_table(spec)
    assert isinstance(written, dict)
    assert read_table(EnvSpec, written) == (spec, [])


@SLOW
@given(right_tables(find_record(Settings)))
def test_right_settings_survive_writing_and_reading(table: dict[str, Any]) -> None:
    found, problems = read_table(Settings, table)
    assert problems == []
    written = write_table(found)
    assert isinstance(written, dict)
    assert read_table(Settings, written) == (found, [])


@SLOW
@given(wild_tables(SPEC))
def test_reader_and_rules_answer_with_problems_whatever_the_table_says(
    table: dict[str, Any],
) -> None:
    spec, problems = read_table(EnvSpec, table)
    assert (spec is None) == bool(problems)
    for problem in problems:
        assert problem.message
        assert render_key(parse_key(problem.key)) == problem.key
    draft = read_draft(EnvSpec, table)
    check_rules(draft.value, doubtful=draft.doubtful)


@pytest.mark.parametrize("depth", [100, 5_000])
def test_deep_json_is_read_without_recursion(depth: int) -> None:
    value: object = 1
    for _ in range(depth):
        value = [value]
    smoke = {"entry-script": "score.py", "request": [{"json": value}]}
    spec, problems = read_table(EnvSpec, {"python": "3.11", "smoke": smoke})
    assert problems == []
    assert spec is not None


def find_tables(shape: Shape, value: object, at: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Give each table with known keys that is in `value`."""
    match shape, value:
        case Record(), dict():
            yield at, value
            for key, slot in shape.slots.items():
                if key in value:
                    yield from find_tables(slot.shape, value[key], (*at, key))
        case Many(), list():
            for n, item in enumerate(value):
                yield from find_tables(shape.item, item, (*at, n))
        case Table(), dict():
            for key, item in value.items():
                yield from find_tables(shape.value, item, (*at, key))


@SLOW
@given(right_tables(SPEC), TEXTS, st.data())
def test_unknown_key_anywhere_is_reported_by_its_dotted_key(
    table: dict[str, Any], name: str, data: st.DataObject
) -> None:
    at, found = data.draw(st.sampled_from(list(find_tables(SPEC, table, ()))))
    unknown = f"x-{name}"
    found[unknown] = 1
    spec, problems = read_table(EnvSpec, table)
    assert spec is None
    assert [problem.key for problem in problems] == [render_key((*at, unknown))]
    assert "unknown key" in problems[0].message


@SLOW
@given(right_tables(SPEC), st.data())
def test_every_missing_required_key_is_reported(table: dict[str, Any], data: st.DataObject) -> None:
    tables = [
        (at, found, key)
        for at, found in find_tables(SPEC, table, ())
        for key in ("python", "script")
        if key in found
    ]
    at, found, key = data.draw(st.sampled_from(tables))
    del found[key]
    _, problems = read_table(EnvSpec, table)
    assert [problem.key for problem in problems] == [render_key((*at, key))]
    assert "missing" in problems[0].message


def test_whole_number_is_taken_where_any_number_is_meant() -> None:
    found, problems = read_table(Resources, {"cpus": 2})
    assert problems == []
    assert found is not None
    assert isinstance(found.cpus, float)


@pytest.mark.parametrize(
    "table",
    [
        {"python": 16**9000},
        {"python": "3.11", "env": {"A": -(16**9000)}},
        {"python": "3.11", "smoke": {"entry-script": "a.py", "request": [{"json": [16**9000]}]}},
    ],
    ids=["text", "free text", "JSON"],
)
def test_number_too_long_to_print_is_refused(table: dict[str, object]) -> None:
    _, (problem,) = read_table(EnvSpec, table)
    assert "64 bits" in problem.message


@pytest.mark.parametrize(
    "value", [True, False, "2", float("nan"), float("inf"), 10**400, [2], {}], ids=repr
)
def test_what_is_no_number_is_refused(value: object) -> None:
    found, problems = read_table(Resources, {"cpus": value})
    assert found is None
    assert [problem.key for problem in problems] == ["cpus"]


def test_lists_become_tuples_and_keys_lose_their_dashes() -> None:
    table = {"python": "3.11", "pip": {"extra-index-urls": ["https://pkgs.example.com/simple"]}}
    found, _ = read_table(EnvSpec, table)
    assert found is not None
    assert found.pip.extra_index_urls == ("https://pkgs.example.com/simple",)
    assert found.env == {}


def test_problems_stand_below_the_given_place() -> None:
    _, problems = read_table(Resources, {"cpu": 1}, at=("tool", "a.b"))
    assert [problem.key for problem in problems] == ['tool."a.b".cpu']


def test_an_annotation_without_a_shape_is_a_bug_that_shows() -> None:
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Odd:
        value: Annotated[complex, "No such thing in TOML."]

    Odd.__annotations__["value"] = complex
    with pytest.raises(TypeError, match="no shape"):
        find_record(Odd)


@given(st.lists(TEXTS.filter(bool) | st.integers(0, 99), max_size=5))
def test_dotted_key_can_be_read_back(parts: list[str | int]) -> None:
    place = ("a", *parts)
    assert parse_key(render_key(place)) == place


def test_json_values_stay_as_they_are() -> None:
    value: Mapping[str, object] = {"a": [1, 2.5, {"b": []}], "c": True}
    smoke = {"entry-script": "score.py", "request": [{"json": value}]}
    found, _ = read_table(EnvSpec, {"python": "3.11", "smoke": smoke})
    assert found is not None
    assert found.smoke is not None
    assert json.dumps(found.smoke.request[0].json) == json.dumps(value)
