"""What a dataclass's annotations say about TOML, compiled once: the shapes of its values.

Reader, JSON schema and reference all work from these, so none can say what the others do not.

Vocabulary. A *record* is a frozen dataclass and, in TOML, a table with known keys; a *table* is a
mapping with free keys; a *slot* is one key of a record. In an `Annotated`, a text documents the
slot, and a `Format`, `Range` or `Items` narrows the value: a format of a list or table means each
text in it. `X | None` is the same as `X`, for TOML has no null: the key is left out.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar

from envbuild.spec.formats.base import Format, Items, Range

__all__ = [
    "Choice",
    "Flag",
    "Json",
    "Many",
    "Number",
    "Record",
    "Shape",
    "Slot",
    "Table",
    "Text",
    "find_record",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A text, of a format or any."""

    format: Format | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One of a few texts."""

    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """A number; `whole` ones are `int`, others become `float`."""

    whole: bool
    range: Range | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Flag:
    """`true` or `false`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Json:
    """Any value that JSON has too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Many:
    """A list of values of one shape."""

    item: Shape
    items: Items | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table with free keys and values of one shape."""

    value: Shape
    keys: Format | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One key of a record: how the class and TOML call it, its shape, default and meaning."""

    name: str
    key: str
    shape: Shape
    required: bool
    default: object
    doc: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A table with known keys, which becomes an instance of `cls`."""

    cls: type[Any]
    slots: Mapping[str, Slot]
    """By TOML key, in the order of the class."""

    @property
    def doc(self) -> str:
        """The class's docstring."""
        return (self.cls.__doc__ or "").strip()


_T = TypeVar("_T")
Shape = Text | Choice | Number | Flag | Json | Many | Table | Record


_RECORDS: Final[dict[type[Any], Record]] = {}


def find_record(cls: type[Any]) -> Record:
    """Return the record that the annotations of the dataclass `cls` describe.

    Raises `TypeError` for an annotation that has no shape: that is a bug in the class.
    """
    record = _RECORDS.get(cls)
    if record is None:
        record = _RECORDS[cls] = _make_record(cls)
    return record


def _make_record(cls: type[Any]) -> Record:
    hints = typing.get_type_hints(cls, include_extras=True)
    slots = (_find_slot(field, hints[field.name]) for field in dataclasses.fields(cls))
    return Record(cls=cls, slots={slot.key: slot for slot in slots})


def _find_slot(field: dataclasses.Field[Any], hint: Any) -> Slot:
    extras = hint.__metadata__ if typing.get_origin(hint) is Annotated else ()
    factory = field.default_factory
    required = field.default is dataclasses.MISSING and factory is dataclasses.MISSING
    default = field.default if factory is dataclasses.MISSING else factory()
    return Slot(
        name=field.name,
        key=field.name.replace("_", "-"),
        shape=_find_shape(hint, ()),
        required=required,
        default=None if required else default,
        doc=" ".join(extra for extra in extras if isinstance(extra, str)),
    )


def _pick(extras: tuple[object, ...], kind: type[_T]) -> _T | None:
    return next((extra for extra in extras if isinstance(extra, kind)), None)


def _find_shape(hint: Any, extras: tuple[object, ...]) -> Shape:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _find_shape(arguments[0], (*hint.__metadata__, *extras))
    if origin in (types.UnionType, typing.Union):
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return _find_shape(inner, extras)
    if origin is Literal:
        return Choice(values=arguments)
    if origin is tuple and arguments[1:] == (...,):
        return Many(item=_find_shape(arguments[0], extras), items=_pick(extras, Items))
    if origin is Mapping and arguments:
        key = _find_shape(arguments[0], ())
        keys = key.format if isinstance(key, Text) else None
        return Table(value=_find_shape(arguments[1], extras), keys=keys)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return find_record(hint)
    return _find_simple(hint, extras)


def _find_simple(hint: object, extras: tuple[object, ...]) -> Shape:
    if hint is str:
        return Text(format=_pick(extras, Format))
    if hint is bool:
        return Flag()
    if hint in (int, float):
        return Number(whole=hint is int, range=_pick(extras, Range))
    if hint is object:
        return Json()
    raise TypeError(f"no shape for the annotation {hint!r}")
