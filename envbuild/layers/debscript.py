"""Reads maintainer scripts as text, never to run them: which plain commands stand in them.

Enough of sh(1) for what packages of Debian register with other tools in a fixed form: joined
lines, quotes, comments, variables that are set to fixed text before, `for` over a fixed list,
`if false`. A branch is taken for taken: what a script does on its first installation stands in
none, or in one. Words whose value isn't fixed keep their `$`; who asks decides what that means.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

__all__ = ["is_fixed", "read_commands"]

_ASSIGNMENT: Final = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_]\w*)=(?P<value>.*)", re.DOTALL)
_VARIABLE: Final = re.compile(r"\$(?:(?P<plain>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})")
_FOR: Final = re.compile(r"for\s+(?P<name>\w+)\s+in\s+(?P<list>[^;]*?)\s*(?:;\s*do)?\s*(?:;|$)")
_HEREDOC: Final = re.compile(r"<<-?\s*(['\"]?)(?P<end>\w+)\1")
_LEADING: Final = frozenset({"then", "do", "else", "{", "!"})
_LOOPS: Final = ("for ", "while ", "until ")
_END: Final = re.compile(r"[;&|()<>]+")


def is_fixed(words: Sequence[str]) -> bool:
    """Return whether nothing in `words` would have to be run or looked up to be known."""
    return not any(set("$`") & set(word) for word in words)


def read_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each simple command in a shell script, in its order."""
    yield from _read(list(_join(text)), {"DPKG_ROOT": "", "DPKG_MAINTSCRIPT_NAME": "postinst"})


def _join(text: str) -> Iterator[str]:
    """Yield the script's logical lines: joined at `\\`, and within quotes; no documents."""
    end = ""
    line = ""
    for raw in text.splitlines():
        if end:
            end = "" if raw.strip() == end else end
            continue
        line += raw
        if line.endswith("\\"):
            line = line[:-1] + " "
            continue
        if _is_open(line):
            line += " "
            continue
        stripped = line.strip()
        line = ""
        if stripped and not stripped.startswith("#"):
            heredoc = _HEREDOC.search(stripped)
            end = heredoc["end"] if heredoc else ""
            yield stripped
    if line.strip():
        yield line.strip()


def _is_open(line: str) -> bool:
    """Return whether an assignment's quote goes on in the next line; others hardly matter."""
    if not _ASSIGNMENT.match(line.strip()):
        return False
    try:
        shlex.split(line, comments=True)
    except ValueError:
        return True
    return False


def _read(lines: Sequence[str], variables: dict[str, str]) -> Iterator[list[str]]:
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        loop = _FOR.match(line)
        if loop and is_fixed([values := _expand(loop["list"], variables)]):
            body, number = _find_body(lines, number, line)
            for value in shlex.split(values):
                variables[loop["name"]] = value
                yield from _read(body, variables)
        elif line.startswith("if false"):
            number = _find_end(lines, number)
        else:
            yield from _read_line(line, variables)


def _find_body(lines: Sequence[str], start: int, first: str) -> tuple[Sequence[str], int]:
    """Return the lines of a loop that begins before `start`, and the number after its `done`."""
    if re.search(r";\s*done\b", first):
        inner = re.sub(r".*?;\s*do\b", "", first, count=1)
        return [re.sub(r";\s*done\b.*", "", inner)], start
    depth = 1
    for number in range(start, len(lines)):
        depth += lines[number].startswith(_LOOPS) and not re.search(r";\s*done\b", lines[number])
        depth -= bool(re.match(r"done\b", lines[number]))
        if not depth:
            return lines[start:number], number + 1
    return lines[start:], len(lines)


def _find_end(lines: Sequence[str], start: int) -> int:
    """Return the number of the line after the `fi` of an `if` before `start`."""
    depth = 1
    for number in range(start, len(lines)):
        depth += lines[number].startswith("if ") and not re.search(r"\bfi\b", lines[number])
        depth -= bool(re.match(r"fi\b", lines[number]))
        if not depth:
            return number + 1
    return len(lines)


def _read_line(line: str, variables: dict[str, str]) -> Iterator[list[str]]:
    assignment = _ASSIGNMENT.fullmatch(line)
    words = _split(_expand(assignment["value"], variables)) if assignment else None
    if assignment and not is_fixed(words or [assignment["value"]]):
        variables.pop(assignment["name"], None)
    elif assignment and words is not None and len(words) <= 1:
        variables[assignment["name"]] = words[0] if words else ""
    elif line.startswith("unset "):
        variables |= dict.fromkeys(line.split()[1:], "")
    else:
        yield from _split_commands(_expand(line, variables))


def _expand(text: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        return variables.get(match["plain"] or match["braced"], match[0])

    return _VARIABLE.sub(value, text)


def _split(text: str) -> list[str] | None:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return None


def _split_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    command: list[str] = []
    try:
        for word in lexer:
            if _END.fullmatch(word):
                if command:
                    yield command
                command = []
            elif command or word not in _LEADING:
                command.append(word)
    except ValueError:
        return  # a quote that ends in another line: nothing that anybody here asks for
    if command:
        yield command
