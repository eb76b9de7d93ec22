"""Writes `docs/spec.md`: every key of a spec and of the settings, from the types themselves.

`python -m envbuild.spec.reference` rewrites the page; a test holds it up to date, and another one
loads its examples.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envbuild.kit.files import write_atomic
from envbuild.spec.examples import EXAMPLES, WHOLE
from envbuild.spec.formats import Format
from envbuild.spec.keys import KeyPath, render_key
from envbuild.spec.merge import MERGE_RULES
from envbuild.spec.model import EnvSpec
from envbuild.spec.phrases import join_names
from envbuild.spec.rules import RULES
from envbuild.spec.settings import Settings
from envbuild.spec.shapes import (
    Choice,
    Flag,
    Many,
    Number,
    Record,
    Shape,
    Slot,
    Table,
    Text,
    find_record,
)

__all__ = ["REFERENCE_FILE", "render_reference"]

REFERENCE_FILE: Final = Path(__file__).parents[2] / "docs" / "spec.md"
"""The page, in a checkout of envbuild."""

_HEAD: Final = """\
<!-- Made by `python -m envbuild.spec.reference`; change the types in envbuild/spec instead. -->

# The spec: `envs/NAME.toml`

One file is one environment, and the file's name is the environment's name: small letters and
digits, in parts joined by `-`. Names that begin with `envbuild-` are reserved. The file is
[TOML](https://toml.io) in UTF-8. Whatever is not on this page is an error, and all errors of a file
are shown at once, each with its key, its line, what was expected and an example.

For completion while typing, the first line names the schema, `#:schema ./envbuild.schema.json`:
`nox -s scaffold` writes both ([more](start.md#in-your-editor)).
"""

_TOP_DOC: Final = "These keys stand at the top of the file, before the first `[table]`."


def render_reference() -> str:
    """Return the page as Markdown."""
    blocks = [_HEAD, "A whole one:\n", _render_toml(WHOLE)]
    spec, settings = find_record(EnvSpec), find_record(Settings)
    for place, record in _find_records(spec, ()):
        blocks += _render_record(place, record)
    blocks += _render_inheritance()
    blocks += _render_rules()
    blocks.append("## Settings of a repository: `[tool.envbuild]` in `pyproject.toml`\n")
    for place, record in _find_records(settings, ("tool", "envbuild")):
        blocks += _render_record(place, record, level=3)
    blocks += _render_formats(spec, settings)
    return "\n".join(blocks)


def _find_records(record: Record, at: KeyPath) -> Iterator[tuple[KeyPath, Record]]:
    yield at, record
    for slot in record.slots.values():
        inner, place = _open_up(slot.shape, (*at, slot.key))
        if isinstance(inner, Record):
            yield from _find_records(inner, place)


def _open_up(shape: Shape, place: KeyPath) -> tuple[Shape, KeyPath]:
    """Return what a list or table holds, and its place."""
    if isinstance(shape, Many):
        return shape.item, place
    if isinstance(shape, Table):
        return shape.value, (*place, "NAME")
    return shape, place


def _render_record(place: KeyPath, record: Record, *, level: int = 2) -> Iterator[str]:
    key = render_key(place)
    yield f"{'#' * level} {f'`[{_bracket(key)}]`' if key else 'At the top'}\n"
    yield (record.doc if key else _TOP_DOC) + "\n"
    if key in EXAMPLES:
        yield _render_toml(EXAMPLES[key])
    yield "| key | value | default | what it is |\n| --- | --- | --- | --- |"
    for slot in record.slots.values():
        yield _render_slot(slot, (*place, slot.key))
    yield ""


def _bracket(key: str) -> str:
    return f"[{key}]" if key in {"image.source", "smoke.request"} else key


def _render_slot(slot: Slot, place: KeyPath) -> str:
    value = _name_value(slot.shape, place)
    default = "**required**" if slot.required else _render_default(slot)
    return f"| `{slot.key}` | {value} | {default} | {_escape(slot.doc)} |"


def _name_value(shape: Shape, place: KeyPath) -> str:
    match shape:
        case Text():
            return _link(shape.format) if shape.format else "text"
        case Choice():
            return join_names([json.dumps(value) for value in shape.values], last="or")
        case Number():
            kind = "whole number" if shape.whole else "number"
            return f"{kind} {shape.range.expected}" if shape.range else kind
        case Flag():
            return "`true` or `false`"
        case Many(item=Record()):
            return f"tables `[[{render_key(place)}]]`"
        case Many():
            return f"list of: {_name_value(shape.item, place)}"
        case Table(value=Record()):
            return f"tables `[{render_key(place)}.NAME]`"
        case Table():
            keys = _link(shape.keys) if shape.keys else "text"
            return f"table, {keys} = {_name_value(shape.value, place)}"
        case Record():
            return f"table `[{render_key(place)}]`"
    return "any value that JSON has too"


def _render_default(slot: Slot) -> str:
    value = slot.default
    if value is None or value == () or value == {} or dataclasses.is_dataclass(value):
        return ""
    return f"`{json.dumps(value)}`"


def _link(format: Format) -> str:  # noqa: A002
    return f"[{format.name}](#{_anchor(format.name)})"


def _anchor(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


_INHERITANCE: Final = """\
## What a spec inherits

`extends = "NAME"` makes a spec from another one: `envs/NAME.toml`, or one that comes with envbuild
([curated environments](curated.md)). That one may extend a third, and so on; a circle is an error.
Below all of them is the table `[tool.envbuild.defaults]` of `pyproject.toml`, which has the keys of
a spec and holds for every environment of the repository. The tables are put together first, and
checked then: so a child may leave out `python`, and a problem is shown with the file and the line
that have it. A change in a parent makes the locks of its children stale.
"""
_PARENT: Final = """\
Each file in `envs/` is an environment, and must be a whole one, also if it is there to be extended;
what is no environment of its own goes into the defaults. The schema for editors can't see those:
it asks for `python` in a file that extends nothing.
"""


def _render_inheritance() -> Iterator[str]:
    yield _INHERITANCE
    yield _render_toml(EXAMPLES["extends"])
    yield _render_toml(EXAMPLES["tool.envbuild.defaults"])
    yield "How a child and what it extends are merged:\n"
    yield from (f"- {rule}" for rule in MERGE_RULES)
    yield ""
    yield _PARENT


def _render_rules() -> Iterator[str]:
    yield "## What must fit together\n"
    yield from (f"- {rule.doc}" for rule in RULES)
    yield ""


def _render_formats(*records: Record) -> Iterator[str]:
    yield "## Formats of texts\n"
    found = {f.name: f for record in records for f in _find_formats(record)}
    for name in sorted(found, key=str.lower):
        examples = [_code(example) for example in found[name].examples]
        yield f"### {name}\n"
        yield f"{_capital(found[name].expected)}: {', '.join(examples)}.\n"


def _find_formats(shape: Shape) -> Iterator[Format]:
    match shape:
        case Text():
            yield from filter(None, (shape.format,))
        case Many():
            yield from _find_formats(shape.item)
        case Table():
            yield from filter(None, (shape.keys,))
            yield from _find_formats(shape.value)
        case Record():
            for slot in shape.slots.values():
                yield from _find_formats(slot.shape)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _code(text: str) -> str:
    return f"`{text}`"


def _escape(text: str) -> str:
    return text.replace("|", r"\|")


def _render_toml(text: str) -> str:
    return f"```toml\n{text}```\n"


if __name__ == "__main__":
    write_atomic(REFERENCE_FILE, render_reference())
