"""What is generated from the types is up to date, and agrees with the reader."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import regress
import tomli
from hypothesis import HealthCheck, given, settings

from envbuild.spec import formats
from envbuild.spec.examples import EXAMPLES, WHOLE
from envbuild.spec.formats import Format
from envbuild.spec.load import parse_spec
from envbuild.spec.model import EnvSpec
from envbuild.spec.reader import read_table
from envbuild.spec.reference import REFERENCE_FILE, render_reference
from envbuild.spec.rules import check_rules
from envbuild.spec.schema import SCHEMA_FILE, render_schema
from envbuild.spec.settings import Settings, parse_settings
from envbuild.spec.shapes import Many, Record, Table, find_record
from tests.spec.golden import INVALID, VALID
from tests.spec.strategies import right_tables

SCHEMA: dict[str, Any] = json.loads(render_schema())
CHECKER = jsonschema.Draft202012Validator(SCHEMA)
FORMATS = sorted(n for n in formats.__all__ if isinstance(getattr(formats, n), Format))

# Wrong in ways that no schema of single keys can say.
BEYOND_THE_SCHEMA = {
    "format-requirement",  # in part: what only pip's parser knows
    "python-two-minors",  # arithmetic
    "format-moment",  # the calendar
    "text-with-nul",
    "type-json",  # JSON has no such values, so a schema can't speak of them
    "number-not-finite",
    # What other files say: the parents of a spec, and the repository's defaults.
    *("defaults-wrong", "extends-incomplete", "file-empty", "file-only-comments", "python-missing"),
    *(f"extends-{what}" for what in ("circle", "contradiction", "curated-unknown", "itself")),
    *(
        f"extends-{what}"
        for what in ("missing", "missing-further-up", "without-nothing", "wrong-parent")
    ),
    *(path.stem for path in INVALID.glob("rule-*.toml") if path.stem != "rule-silent-on-doubtful"),
}


def test_schema_is_up_to_date() -> None:
    """If not, run `python -m envbuild.spec.schema`."""
    assert SCHEMA_FILE.read_text(encoding="utf-8") == render_schema()


def test_reference_is_up_to_date() -> None:
    """If not, run `python -m envbuild.spec.reference`."""
    assert REFERENCE_FILE.read_text(encoding="utf-8") == render_reference()


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted(VALID.glob("*.toml")), ids=lambda path: path.stem)
def test_right_spec_fits_the_schema(path: Path) -> None:
    CHECKER.validate(tomli.loads(path.read_text(encoding="utf-8-sig")))


def test_what_the_defaults_say_is_not_asked_of_a_spec() -> None:
    defaults = b'[tool.envbuild.defaults]\npython = "3.11.*"\ntrain.script = "train.py"\n'
    text = b'[train]\nsource = "src"\n'
    assert parse_spec(text, where="envs/x.toml", find=lambda _: defaults).train
    CHECKER.validate(tomli.loads(text.decode()))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(right_tables(find_record(EnvSpec)))
def test_schema_takes_what_the_reader_takes(table: dict[str, Any]) -> None:
    assert read_table(EnvSpec, table)[1] == []
    CHECKER.validate(table)


@pytest.mark.parametrize("path", sorted(INVALID.glob("*.toml")), ids=lambda path: path.stem)
def test_wrong_spec_fails_the_schema(path: Path) -> None:
    try:
        table = tomli.loads(path.read_bytes().decode())
    except (ValueError, RecursionError):
        return  # no TOML, so no editor gets as far as the schema
    if path.stem not in BEYOND_THE_SCHEMA:
        assert not CHECKER.is_valid(table)


def test_exceptions_are_needed() -> None:
    for stem in BEYOND_THE_SCHEMA - {"format-requirement", "number-not-finite"}:
        table = tomli.loads((INVALID / f"{stem}.toml").read_text(encoding="utf-8"))
        assert stem.startswith(("type-json", "text-with")) or CHECKER.is_valid(table), stem


@pytest.mark.parametrize("name", FORMATS)
def test_patterns_mean_the_same_to_editors(name: str) -> None:
    """Editors use JavaScript's regular expressions, in their Unicode mode."""
    wanted: Format = getattr(formats, name)
    pattern = regress.Regex(f"^(?:{wanted.pattern})$", "u")
    for example in wanted.examples:
        assert pattern.find(example)
    for text in ("", " ", "\n", "a b", "../x", "-", "https://u:p@h/", wanted.example + "\n"):
        assert bool(pattern.find(text)) == bool(re.fullmatch(wanted.pattern, text)), text


def test_every_key_is_documented() -> None:
    def walk(record: Record) -> None:
        assert record.doc.endswith("."), record.cls
        for slot in record.slots.values():
            assert slot.doc.endswith("."), slot
            shape = slot.shape
            shape = shape.item if isinstance(shape, Many) else shape
            shape = shape.value if isinstance(shape, Table) else shape
            if isinstance(shape, Record):
                walk(shape)

    walk(find_record(EnvSpec))
    walk(find_record(Settings))


def test_whole_example_loads() -> None:
    assert parse_spec(WHOLE.encode(), where="WHOLE").smoke


@pytest.mark.parametrize("key", sorted(EXAMPLES))
def test_example_of_each_table_loads(key: str) -> None:
    table = tomli.loads(EXAMPLES[key])
    if key == "tool.envbuild.defaults":
        data = EXAMPLES[key].encode()
        assert parse_spec(b"", where=key, find=lambda _: data).pip.extra_index_urls
        return
    if key.startswith("tool."):
        assert parse_settings(EXAMPLES[key].encode(), where=key) != Settings()
        return
    if key == "extends":
        assert parse_spec(EXAMPLES[key].encode(), where=key).extends
        return
    table.setdefault("python", "3.11.*")
    if "train" in table:
        table["train"].setdefault("script", "train.py")
    if "smoke" in table and "command" not in table["smoke"]:
        table["smoke"]["entry-script"] = "score.py"
    spec, problems = read_table(EnvSpec, table)
    assert problems == []
    assert spec is not None
    assert check_rules(spec) == []
