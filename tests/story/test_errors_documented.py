"""Every error code that the source can raise is in `docs/errors.md`, and no other is.

Codes are found in the source, not in a list: a code is the first argument of a constructor of
`EnvbuildError` or of a class derived from it. Where that argument is put together at run time, the
place is named in `COMPOSED`, with the codes that it can come to and why they aren't written there;
a place that isn't named there fails the test.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from envbuild.kit import fetch
from envbuild.oci import answer
from envbuild.sessions import context, guard
from envbuild.sessions.table import SESSIONS

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "envbuild"
DOCUMENT: Final = ROOT / "docs" / "errors.md"

CODE: Final = re.compile(r"[a-z]+\.[a-z0-9]+(?:-[a-z0-9]+)*")
BASE: Final = "EnvbuildError"

COMPOSED: Final[dict[tuple[str, str], Callable[[], set[str]]]] = {
    # The gravest of the failures at several addresses, each with the words for its code.
    ("kit/fetch.py", "code"): lambda: set(fetch._WORDS),
    # A connection fails in several ways; the table gives each its code and its hint.
    ("oci/answer.py", "code"): lambda: {code for code, _ in answer._FAILURES.values()},
    # One reader of TOML for specs and for settings: the caller says for which.
    ("spec/toml.py", "f'{room}.syntax'"): lambda: {f"{room}.syntax" for room in find_rooms()},
    ("spec/toml.py", "f'{room}.encoding'"): lambda: {f"{room}.encoding" for room in find_rooms()},
    # What the operating system refuses where nobody expected it: a code by the error's number.
    ("sessions/guard.py", "_CODES.get(error.errno or 0, 'system.error')"): lambda: {
        *guard._CODES.values(),
        "system.error",
    },
}
"""By file and expression: the codes that are put together there."""


def find_rooms() -> set[str]:
    """Return the rooms that `parse_toml` is called for: its default, and those of its callers."""
    tree = ast.parse((SOURCE / "spec" / "toml.py").read_text(encoding="utf-8"))
    function = next(
        n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "parse_toml"
    )
    rooms = {ast.literal_eval(d) for d in function.args.kw_defaults if d is not None}
    for _, tree in read_modules():
        for call in find_calls(tree):
            if name_of(call.func) == "parse_toml":
                rooms |= {ast.literal_eval(k.value) for k in call.keywords if k.arg == "room"}
    return rooms


@cache
def read_modules() -> tuple[tuple[str, ast.Module], ...]:
    paths = sorted(SOURCE.rglob("*.py"))
    return tuple(
        (path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for path in paths
    )


def find_calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def name_of(callee: ast.expr) -> str:
    """Return the last part of what is called: `Error` of both `Error` and `errors.Error`."""
    match callee:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def takes_code(kind: ast.ClassDef) -> bool | None:
    """Tell whether a class's constructor takes a code first; None if it has none of its own."""
    for item in kind.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return [a.arg for a in item.args.args[1:2]] == ["code"]
    return None


@cache
def find_families() -> tuple[set[str], set[str]]:
    """Return all error classes of ours, and those of them whose constructor takes a code first."""
    classes = [
        node for _, tree in read_modules() for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]  # fmt: skip
    ours, coded = {BASE}, {BASE}
    before = 0
    while before != len(ours):  # a class may come before the one that it is derived from
        before = len(ours)
        for kind in classes:
            bases = {name_of(base) for base in kind.bases} & ours
            own = takes_code(kind)
            if bases:
                ours.add(kind.name)
            if bases and (bool(bases & coded) if own is None else own):
                coded.add(kind.name)
    return ours, coded


@cache
def find_firsts() -> tuple[tuple[str, ast.expr], ...]:
    """Return the first argument of every construction of an error of ours, with its file."""
    ours, coded = find_families()
    found: list[tuple[str, ast.expr]] = []
    for file, tree in read_modules():
        inner = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name in ours]
        supers = {
            id(call) for kind in inner for call in find_calls(kind)
            if ast.unparse(call.func) == "super().__init__" and kind.name != BASE
        }  # fmt: skip
        passing = {id(call) for kind in inner if takes_code(kind) for call in find_calls(kind)}
        for call in find_calls(tree):
            is_super = id(call) in supers and id(call) not in passing
            if is_super or name_of(call.func) in coded:
                first = call.args[0] if call.args else call.keywords[0].value
                # A choice between codes that are written out is as good as one code.
                choices = (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,)
                found += [(file, choice) for choice in choices]
    return tuple(found)


def find_bracketed() -> Iterator[tuple[str, str]]:
    """Yield texts that put a code together in brackets by themselves, `... [system.{code}]`."""
    for file, tree in read_modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                for part in node.values:
                    text = part.value if isinstance(part, ast.Constant) else ""
                    if found := re.search(r" (\[[a-z]+\.)$", str(text)):
                        yield file, found[1]


def find_written() -> set[str]:
    return {
        first.value for _, first in find_firsts()
        if isinstance(first, ast.Constant) and isinstance(first.value, str)
    }  # fmt: skip


def find_composed() -> set[tuple[str, str]]:
    places = {
        (file, ast.unparse(first)) for file, first in find_firsts()
        if not isinstance(first, ast.Constant)
    }  # fmt: skip
    return places | set(find_bracketed())


def find_codes() -> set[str]:
    """Return every code that the source can raise."""
    return find_written().union(*(codes() for codes in COMPOSED.values()))


def read_entries() -> dict[str, str]:
    """Return the document's entries, code to text, in their order."""
    parts = re.split(r"^### `(.*)`$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    texts = (re.split(r"^## ", text, flags=re.MULTILINE)[0].strip() for text in parts[2::2])
    return dict(zip(parts[1::2], texts, strict=True))


def test_every_code_is_documented() -> None:
    assert find_codes() - set(read_entries()) == set()


def test_every_documented_code_can_be_raised() -> None:
    assert set(read_entries()) - find_codes() == set()


def test_every_place_that_composes_a_code_is_known() -> None:
    assert find_composed() == set(COMPOSED)


def test_codes_have_one_form() -> None:
    assert {code for code in find_codes() if not CODE.fullmatch(code)} == set()


def test_codes_that_are_asked_for_exist() -> None:
    """`error.code == "fetch.gnoe"` would never be true."""
    asked: set[str] = set()
    for _, tree in read_modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and name_of(node.left) == "code":
                texts = (n for side in node.comparators for n in ast.walk(side))
                asked |= {
                    n.value for n in texts
                    if isinstance(n, ast.Constant) and isinstance(n.value, str)
                }  # fmt: skip
    assert asked, "no code is asked for anywhere: the search is broken"
    assert asked - find_codes() == set()


def test_entries_are_sorted_and_each_is_there_once() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    headings = re.findall(r"^(##|###) `(.*)`$", text, re.MULTILINE)
    codes = [name for level, name in headings if level == "###"]
    sections = [name for level, name in headings if level == "##"]
    assert codes == sorted(codes, key=lambda code: tuple(code.split(".")))
    assert [code for code, count in Counter(codes).items() if count > 1] == []
    assert sections == sorted({code.partition(".")[0] for code in codes})
    above = ""
    for level, name in headings:
        above = name if level == "##" else above
        assert name.partition(".")[0] == above, f"`{name}` stands under `{above}`"


@pytest.mark.parametrize("part", ["Usual cause", "What to do"])
def test_every_entry_says_cause_and_remedy(part: str) -> None:
    assert [code for code, text in read_entries().items() if f"\n- {part}: " not in text] == []


def test_no_message_or_hint_ends_in_a_full_stop() -> None:
    """Nox adds one to the message; a hint that ends in a command must not end in `.` either."""
    ours, _ = find_families()
    ending: list[str] = []
    for file, tree in read_modules():
        for call in find_calls(tree):
            if name_of(call.func) in ours:
                said = [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "hint")]
                ending += [f"{file}:{t.lineno}" for t in said if find_end(t).endswith(".")]
    assert ending == []


def find_end(text: ast.expr) -> str:
    """Return the end of a text as far as the source has it."""
    match text:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=[*_, last]) | ast.BinOp(right=last):
            return find_end(last)
    return ""


class _Found(Exception):  # noqa: N818 - carries what was looked for
    """Leaves a session as soon as its parser is made."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def find_options(session: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the options of a session, from the very parser that it would use."""
    module = importlib.import_module(f"envbuild.sessions.{SESSIONS[session][0]}")

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Found(parser)

    for method in ("parse_args", "parse_known_args"):
        monkeypatch.setattr(argparse.ArgumentParser, method, stop)
    with pytest.raises(_Found) as found:
        module.run(context.Context(name=session, root=ROOT, arguments=(), call=session))
    return set(found.value.parser._option_string_actions)


def find_commands() -> Iterator[tuple[str, str]]:
    """Yield what follows `nox -s` in the code's texts and in the documents, with its file."""
    command = re.compile(r"nox -s ([^`\n|\"]+)")
    for file, tree in read_modules():
        for node in ast.walk(tree):
            text = ""
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            elif isinstance(node, ast.JoinedStr):
                text = "".join(
                    str(v.value) if isinstance(v, ast.Constant) else "VALUE" for v in node.values
                )
            yield from ((file, found) for found in command.findall(text))
    for path in (DOCUMENT, ROOT / "README.md"):
        yield from ((path.name, f) for f in command.findall(path.read_text(encoding="utf-8")))


def test_commands_that_are_named_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        options = {session: find_options(session, patch) for session in SESSIONS}
    wrong: list[str] = []
    seen = 0
    for file, command in find_commands():
        session, *words = command.replace("[", " ").replace("]", " ").split() or [""]
        if session in {"VALUE", "SESSION"}:
            continue
        seen += 1
        named = {word for word in words if re.fullmatch(r"--[a-z][a-z-]*", word)}
        if session not in SESSIONS or not named <= options[session]:
            wrong.append(f"{file}: nox -s {command}")
    assert seen > 20, "hardly any command was found: the search is broken"
    assert wrong == []
