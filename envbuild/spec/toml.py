"""Bytes to a TOML table, with errors that a person who has never heard of TOML can act upon."""

from __future__ import annotations

import re
from typing import Final

from envbuild.errors import Problem, SpecError
from envbuild.spec.formats import hide_secrets

__all__ = ["parse_toml"]

_OPEN_END: Final = "a bracket or a quote was opened and is still open at the end of the file"
_HINTS: Final = (
    (r"Unescaped", "a path is written with `/`; a text with a backslash stands in single quotes"),
    (r"Illegal character '.n'", "a quote is opened in this line and not closed"),
    (
        r"Cannot (?:overwrite|declare|mutate)",
        "each key and each `[table]` comes once; only one in double brackets may come again",
    ),
)
_LINE_HINTS: Final = (
    (r"[^=]+=\s*(?:#.*)?$", "a value is missing after `=`"),
    (r"\s*-\s", 'this looks like YAML; TOML writes a list as `dependencies = ["numpy", "scipy"]`'),
    (r"\s*[\w-]+\s*:", 'this looks like YAML; TOML writes `name = "value"`'),
    (r"\s*[\w.-]+\s*=\s*[^\"'\[{\s]", 'a text stands in quotes: `python = "3.11.*"`'),
    (r"\s*\[", 'a table begins with a line such as `[conda]`, and a list is `["a", "b"]`'),
)
_HINT: Final = 'a line is `name = "text"`, `name = 2`, `name = ["a", "b"]`, or begins a `[table]`'


def parse_toml(data: bytes, *, where: str, room: str = "spec") -> tuple[str, dict[str, object]]:
    """Return the text and the table of a TOML file.

    `where` names the file in messages. Raises `SpecError` with the code `encoding` or `syntax` of
    `room`.
    """
    import tomli

    text = _decode(data, where=where, room=room)
    try:
        return text, tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise _explain_syntax(error, text, where=where, room=room) from None
    except (RecursionError, ValueError) as error:
        deep = isinstance(error, RecursionError)
        reason = (
            "its lists or tables are nested too deep" if deep else "a number has too many digits"
        )
        hint = "an environment needs nothing of the kind; was another file copied here?"
        message = f"`{where}` can't be read: {reason}"
        raise SpecError(f"{room}.syntax", message, hint=hint) from None


def _decode(data: bytes, *, where: str, room: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = (
            f"`{where}` is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}, "
            f"in line {line}"
        )
        encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "latin1"
        hint = (
            f"save the file as UTF-8 in your editor; if it was written as {encoding}, run "
            f"`iconv -f {encoding} -t utf-8 {where} > fixed.toml`"
        )
        raise SpecError(f"{room}.encoding", message, hint=hint) from None


def _explain_syntax(error: object, text: str, *, where: str, room: str) -> SpecError:
    reason = re.sub(r"\('([^']*)',\)", r"`\1`", str(getattr(error, "msg", error)))
    number = int(getattr(error, "lineno", 1))
    column = int(getattr(error, "colno", 1))
    lines = text.split("\n")
    line = lines[number - 1].strip() if number <= len(lines) else ""
    message = f"`{where}` is not valid TOML: {_lower(reason)}, at line {number}, column {column}"
    shown = f"line {number} is `{hide_secrets(line)}`" if line else f"line {number} is empty"
    return SpecError(
        f"{room}.syntax",
        message,
        problems=(Problem(key="", message=shown, line=number, file=where),),
        hint=_find_hint(reason, line, at_end=number >= len(lines)),
    )


def _find_hint(reason: str, line: str, *, at_end: bool) -> str:
    for pattern, hint in _HINTS:
        if re.match(pattern, reason):
            return hint
    if at_end and not line:
        return _OPEN_END
    return next((hint for pattern, hint in _LINE_HINTS if re.match(pattern, line)), _HINT)


def _lower(reason: str) -> str:
    return reason[:1].lower() + reason[1:]
