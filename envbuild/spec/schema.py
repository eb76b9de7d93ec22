"""The JSON schema of `envs/NAME.toml`, made from the types, for completion and checks in editors.

`python -m envbuild.spec.schema` rewrites the file beside this module; a test holds it up to date.
The schema says what a key can say alone; the rules between keys are `envbuild.spec.rules`. It asks
for no key, `python` included: any may come from what the spec extends or from the repository's
defaults, which an editor doesn't see, and there a false mark is worse than a missing one.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Final

from envbuild.kit.files import write_atomic
from envbuild.spec.formats import Format, Items, Range
from envbuild.spec.model import EnvSpec
from envbuild.spec.shapes import (
    Choice,
    Flag,
    Json,
    Many,
    Number,
    Record,
    Shape,
    Slot,
    Table,
    Text,
    find_record,
)

__all__ = ["SCHEMA_FILE", "render_schema"]

SCHEMA_FILE: Final = Path(__file__).with_name("envbuild.schema.json")
"""Where the generated schema is kept; it ships with the package."""

_Schema = dict[str, Any]


def render_schema() -> str:
    """Return the schema (JSON Schema, draft 2020-12) as the text of its file."""
    records: dict[str, _Schema] = {}
    record = find_record(EnvSpec)
    root = _draw_record(record, records)
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An environment of envbuild: envs/NAME.toml",
        **root,
        "$defs": dict(sorted(records.items())),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _draw_record(record: Record, records: dict[str, _Schema]) -> _Schema:
    slots = record.slots.values()
    return {
        "description": record.doc,
        "type": "object",
        "properties": {slot.key: _draw_slot(slot, records) for slot in slots},
        "additionalProperties": False,
    }


def _draw_slot(slot: Slot, records: dict[str, _Schema]) -> _Schema:
    drawn: _Schema = {"description": slot.doc, **_draw(slot.shape, records)}
    default = slot.default
    if default is not None and not dataclasses.is_dataclass(default):
        drawn["default"] = list(default) if isinstance(default, tuple) else default
    return drawn


def _draw(shape: Shape, records: dict[str, _Schema]) -> _Schema:
    match shape:
        case Text():
            return {"type": "string", **_draw_format(shape.format)}
        case Choice():
            return {"type": "string", "enum": list(shape.values)}
        case Number():
            kind = "integer" if shape.whole else "number"
            return {"type": kind, **_draw_range(shape.range)}
        case Flag():
            return {"type": "boolean"}
        case Json():
            return {"type": ["object", "array", "string", "number", "boolean"]}
        case Many():
            item = _draw(shape.item, records)
            return {"type": "array", "items": item, **_draw_items(shape.items)}
        case Table():
            return _draw_table(shape, records)
        case Record():
            name = shape.cls.__name__
            if name not in records:
                records[name] = _draw_record(shape, records)
            return {"$ref": f"#/$defs/{name}"}


def _draw_format(format: Format | None) -> _Schema:  # noqa: A002
    if format is None:
        return {}
    if format.choices:
        return {"enum": list(format.choices)}
    return {"pattern": f"^(?:{format.pattern})$", "examples": list(format.examples)}


def _draw_range(range: Range | None) -> _Schema:  # noqa: A002
    if range is None:
        return {}
    limits = {"minimum": range.least, "exclusiveMinimum": range.above, "maximum": range.most}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _draw_items(items: Items | None) -> _Schema:
    if items is None:
        return {}
    least: _Schema = {"minItems": items.least} if items.least else {}
    return least | ({"uniqueItems": True} if items.unique else {})


def _draw_table(shape: Table, records: dict[str, _Schema]) -> _Schema:
    drawn: _Schema = {"type": "object", "additionalProperties": _draw(shape.value, records)}
    if shape.keys:
        drawn["propertyNames"] = {"pattern": f"^(?:{shape.keys.pattern})$"}
    return drawn


if __name__ == "__main__":
    write_atomic(SCHEMA_FILE, render_schema())
