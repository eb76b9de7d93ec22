"""The text of `envbuild.lock`: made for review, read back exactly, refused after any edit."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuild.errors import LockError
from envbuild.lock.files import parse_lock, render_lock
from envbuild.lock.model import Lock
from envbuild.lock.rows import COLUMNS, order_lock
from tests.rig.locks import BASE, artifacts, locks, make_lock, make_platform, make_spec, wheel

WHERE = "lockfiles/cpu/envbuild.lock"


def _text(lock: Lock | None = None) -> str:
    return render_lock(lock or make_lock(), name="cpu")


def _refusal(text: str | bytes) -> LockError:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(LockError) as caught:
        parse_lock(data, where=WHERE)
    assert "nox -s lock -- cpu" in (caught.value.hint or "")
    assert WHERE in caught.value.message
    assert not caught.value.message.endswith(".")
    return caught.value


def test_every_field_of_an_artifact_is_a_column() -> None:
    for kind, columns in COLUMNS.items():
        assert columns == tuple(field.name for field in fields(kind))


@given(locks)
def test_a_lock_reads_back_as_it_was_written(lock: Lock) -> None:
    text = _text(lock)
    assert parse_lock(text.encode(), where=WHERE) == order_lock(lock)


def _backwards(lock: Lock) -> Lock:
    """Return the same lock with every list and table in reverse order."""

    def table(mapping: Mapping[str, Any]) -> dict[str, Any]:
        return dict(reversed(list(mapping.items())))

    platforms = {
        key: replace(
            part,
            conda=part.conda[::-1],
            wheels=part.wheels[::-1],
            debian=part.debian[::-1],
            sources=part.sources[::-1],
            trees=part.trees[::-1],
            build=part.build[::-1],
        )
        for key, part in table(lock.platforms).items()
    }
    return Lock(
        request=table(lock.request),
        platforms=platforms,
        files=table(lock.files),
        tools=table(lock.tools),
    )


@given(locks)
def test_order_never_reaches_the_file(lock: Lock) -> None:
    assert _text(_backwards(lock)) == _text(lock)


@given(locks)
def test_each_package_has_one_line_of_its_own(lock: Lock) -> None:
    lines = [line for line in _text(lock).splitlines() if line.startswith("  { ")]
    assert len(lines) == sum(
        len(part.artifacts) + len(part.sources) + len(part.trees) + len(part.build)
        for part in lock.platforms.values()
    )


def test_a_new_version_changes_one_line_and_the_digests_of_the_content() -> None:
    before = make_lock()
    part = before.platforms["linux-64"]
    moved = tuple(wheel("rich", "14.0.0") if w.name == "rich" else w for w in part.wheels)
    after = replace(before, platforms={"linux-64": replace(part, wheels=moved)})
    gone = set(_text(before).splitlines()) - set(_text(after).splitlines())
    assert sorted(line.split()[0] for line in gone) == ["content", "content", "{"]


def test_the_file_names_the_command_that_makes_it() -> None:
    head = _text().split("version")[0]
    assert "`nox -s lock -- cpu`" in head
    assert all(line.startswith("#") for line in head.splitlines())


def test_what_a_reader_could_not_see_is_escaped() -> None:
    tools = {"resolver": "1.0\u202e\u200b\x7f\x00é\U000e0041"}
    text = _text(make_lock(tools=tools))
    assert r"1.0\u202e\u200b\u007f\u0000é\U000e0041" in text
    assert tomli.loads(text)["tools"] == tools


# Refusals of the text


@pytest.mark.parametrize("version", [0, 1, 17])
def test_another_format_version_is_refused(version: int) -> None:
    error = _refusal(_text().replace("version = 2", f"version = {version}", 1))
    assert error.code == "lock.version"
    assert str(version) in error.message


@pytest.mark.parametrize("text", ["version = true", 'version = "1"', "version = 1.0", ""])
def test_a_version_that_is_no_number_is_damage(text: str) -> None:
    assert _refusal(text).code == "lock.edited"


@pytest.mark.parametrize("data", [b"version = ", b"\xff\xfe", b"a = [" + b"[" * 5000])
def test_what_is_not_toml_is_refused(data: bytes) -> None:
    assert _refusal(data).code == "lock.syntax"


def test_a_merge_conflict_is_called_by_its_name() -> None:
    text = _text()
    conflict = f"<<<<<<< ours\n{text}=======\n{text}>>>>>>> theirs\n"
    error = _refusal(conflict)
    assert error.code == "lock.syntax"
    assert "merge conflict" in error.message


def _values(table: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the path of every value in a TOML document, tables and lists too."""
    items = (
        list(table.items())
        if isinstance(table, dict)
        else list(enumerate(table))
        if isinstance(table, list)
        else []
    )
    return [path, *(p for key, value in items for p in _values(value, (*path, key)))]


_EXAMPLE = make_lock(
    platforms={
        "linux-64": make_platform(base=BASE),
        "linux-aarch64": make_platform("linux-aarch64"),
    }
)
_PATHS = [path for path in _values(tomli.loads(_text(_EXAMPLE))) if path]


def _dump(value: object) -> str:
    """Write TOML on one line, all tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_dump, value)) + "]"
    return json.dumps(value)


def _document(table: dict[str, object]) -> bytes:
    return "\n".join(f"{key} = {_dump(value)}" for key, value in table.items()).encode()


def test_the_form_of_the_toml_does_not_matter() -> None:
    table = tomli.loads(_text(_EXAMPLE))
    assert parse_lock(_document(table), where=WHERE) == order_lock(_EXAMPLE)


@given(
    st.sampled_from(_PATHS),
    st.sampled_from(["drop", "unknown", "retype"]),
    st.sampled_from([0, True, 1.5, "x", [], {}, ["x"], {"x": 1}, -1, "sha256:" + "0" * 64, "../x"]),
)
@settings(max_examples=400)
def test_every_edit_by_hand_is_found(path: tuple[str | int, ...], edit: str, value: object) -> None:
    table = tomli.loads(_text(_EXAMPLE))
    *parents, last = path
    place: Any = table
    for key in parents:
        place = place[key]
    if edit == "drop":
        del place[last]
    elif edit == "unknown" and isinstance(place, dict):
        place["unknown"] = value
    else:
        if place[last] == value and type(place[last]) is type(value):
            value = "other"
        place[last] = value
    error = _refusal(_document(table))
    allowed = {"lock.edited"}
    assert error.code in (allowed | {"lock.version"} if path == ("version",) else allowed)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"2.1.3"', '"2.1.4"', "platforms.linux-64.content"),
        ('"3.11.9"', '"3.11.8"', "platforms.linux-64.content"),
        ("size = 1000", "size = 1001", "platforms.linux-64.content"),
        ("size = 1000", "size = true", "platforms.linux-64.wheels[0].size"),
        ('conda-lock = "4.0.3"', 'conda-lock = "4.0.4"', "content"),
        ("[platforms.linux-64]", "[platforms.linux-65]", "platforms.linux-65"),
        ('"conda-lock.yml"', '"../x.yml"', "files.../x.yml"),
    ],
)
def test_an_edit_is_reported_with_its_dotted_key(old: str, new: str, key: str) -> None:
    text = _text()
    assert old in text
    assert f"`{key}`" in _refusal(text.replace(old, new, 1)).message


def test_two_locks_mixed_by_a_merge_are_refused() -> None:
    """git merges two sides without a conflict where different lines moved; nobody solved that."""
    ours = make_lock(make_spec(python="3.12.*"))
    theirs = make_lock(tools={"uv": "0.9"})
    mixed = replace(ours, tools=theirs.tools)
    digest = re.search(r"^content.*$", _text(ours), re.MULTILINE)
    assert digest is not None
    text = re.sub(r"(?m)^content.*$", digest[0], _text(mixed), count=1)
    assert _refusal(text).code == "lock.edited"


@given(artifacts, st.sampled_from(["..", ".", "", "a/../b", "a\0b", "/"]))
def test_a_file_name_can_not_leave_the_cache(artifact: Any, name: str) -> None:
    field = {"CondaPackage": "url", "Wheel": "filename", "DebianPackage": "path"}[
        type(artifact).__name__
    ]
    value = f"https://pkgs.example.com/{name}" if field == "url" else name
    if field == "url" and name == "a/../b":
        value = "https://pkgs.example.com/.."
    part = make_platform(conda=(), wheels=(), debian=())
    kind = {"url": "conda", "filename": "wheels", "path": "debian"}[field]
    changed: dict[str, Any] = {kind: (replace(artifact, **{field: value}),)}
    part = replace(part, **changed)
    error = _refusal(_text(make_lock(platforms={"linux-64": part})))
    assert f"`platforms.linux-64.{kind}[0].{field}`" in error.message
