"""What `.dockerignore` keeps out of a build, by the rules of Docker's clients.

Rules: Docker's documentation of `.dockerignore`, and what the walks of BuildKit's clients do with
it, which changed. Until about 2022 (Docker 20.10), a path was compared with each pattern by itself
and by one of its parents, and an ignored folder was looked into only where the text of an exception
begins with its path. Since then every parent counts, and exceptions with wildcards are looked for
everywhere. A path counts here if either kind of client would send it: a build's digest then never
misses what its engine got.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from envbuild.errors import EngineError

__all__ = ["Ignore", "Walk", "parse_ignore"]

_GLOB = re.compile(r"[*\[\]?^\\]")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pattern:
    """One line: its clean text, if it is an exception (`!`), and both ways to match a path."""

    text: str
    exception: bool
    old: re.Pattern[str]
    new: re.Pattern[str]

    @property
    def depth(self) -> int:
        return self.text.count("/") + 1

    @property
    def stem(self) -> str:
        return self.text.removesuffix("/**").removesuffix("/*")


@dataclass(frozen=True, slots=True)
class Walk:
    """What is known of a folder on the way down: whom it is lost for, and which patterns hit it.

    `old` and `new` are False once that kind of client doesn't look into the folder.
    """

    old: bool = True
    new: bool = True
    hits: tuple[bool, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Ignore:
    """The patterns of one file, in their order."""

    patterns: tuple[_Pattern, ...] = ()
    _exceptions: tuple[_Pattern, ...] = field(init=False, default=())
    _wild: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        exceptions = tuple(p for p in self.patterns if p.exception)
        object.__setattr__(self, "_exceptions", exceptions)
        object.__setattr__(self, "_wild", any(_GLOB.search(p.stem) for p in exceptions))

    def enter(self, path: str, parent: Walk, *, folder: bool) -> tuple[bool, Walk | None]:
        """Say if `path` (relative, with `/`) is sent, and how to walk on if it is a folder.

        `parent` is the folder's that holds it; a walk begins with `Walk()`. None: nothing below
        is sent.
        """
        keep_old = parent.old and not self._ignores_old(path)
        ignored_new, hits = self._ignores_new(path, parent.hits)
        keep_new = parent.new and not ignored_new
        if not folder:
            return keep_old or keep_new, None
        walk = Walk(
            old=keep_old or (parent.old and self._leads_to(path, stems=False)),
            new=keep_new or (parent.new and (self._wild or self._leads_to(path, stems=True))),
            hits=hits,
        )
        return keep_old or keep_new, walk if walk.old or walk.new else None

    def _leads_to(self, path: str, *, stems: bool) -> bool:
        """Say if an exception may name something below the folder `path`."""
        texts = (p.stem if stems else p.text for p in self._exceptions)
        return any(f"{text}/".startswith(f"{path}/") for text in texts)

    def _ignores_old(self, path: str) -> bool:
        ignored, parents = False, path.split("/")[:-1]
        for p in self.patterns:
            if p.exception != ignored:
                continue
            hit = p.old.fullmatch(path) is not None
            if not hit and parents and p.depth <= len(parents):
                hit = p.old.fullmatch("/".join(parents[: p.depth])) is not None
            if hit:
                ignored = not p.exception
        return ignored

    def _ignores_new(self, path: str, parent: Sequence[bool]) -> tuple[bool, tuple[bool, ...]]:
        ignored, hits = False, []
        for n, p in enumerate(self.patterns):
            hit = bool(parent) and parent[n]
            if not hit and p.exception == ignored:
                hit = p.new.fullmatch(path) is not None
            hits.append(hit)
            if hit:
                ignored = not p.exception
        return ignored, tuple(hits)


def parse_ignore(text: str, *, where: str) -> Ignore:
    """Parse the text of a `.dockerignore`; `where` names the file in messages.

    Raises `EngineError` `engine.dockerignore` for a pattern that Docker refuses.
    """
    patterns = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        if line.startswith("#") or not (pattern := line.strip()):
            continue
        exception = pattern.startswith("!")
        clean = _clean(pattern[1:].strip() if exception else pattern)
        if clean is None:
            raise _bad(where, number, line)
        try:
            old, new = _compile(clean)
        except (re.error, ValueError):
            raise _bad(where, number, line) from None
        patterns.append(_Pattern(text=clean, exception=exception, old=old, new=new))
    return Ignore(patterns=tuple(patterns))


def _clean(pattern: str) -> str | None:
    """Return the pattern as a clean relative path; None for an exception of nothing."""
    if not pattern:
        return None
    clean = posixpath.normpath(pattern).replace("//", "/")
    return clean[1:] if len(clean) > 1 and clean.startswith("/") else clean


def _bad(where: str, number: int, line: str) -> EngineError:
    return EngineError(
        "engine.dockerignore",
        f"line {number} of `{where}` is no pattern that Docker knows: `{line.strip()}`",
        hint="a pattern is a path with `*`, `?`, `[a-z]` or `**`, after `!` for an exception",
    )


def _compile(pattern: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    expression, place = "", 0
    while place < len(pattern):
        piece, place = _translate(pattern, place)
        expression += piece
    old = re.compile(expression)
    if pattern.startswith("**") and len(pattern) > 2 and not re.search(r"[*\[\]?\\]", pattern[2:]):
        # A quirk of the newer ones: `**x` is whatever ends in `x`, without a `/` before it.
        rest = pattern[2:]
        any_end = rf".*{re.escape(rest)}"
        return old, re.compile(rf"{any_end}|{re.escape(rest[1:])}" if rest[0] == "/" else any_end)
    return old, old


def _translate(pattern: str, at: int) -> tuple[str, int]:
    """Return the regular expression of what begins at `at`, and where the next thing begins."""
    char = pattern[at]
    if char == "*" and pattern[at + 1 : at + 2] == "*":
        end = at + 3 if pattern[at + 2 : at + 3] == "/" else at + 2
        return (".*" if end >= len(pattern) else "(?:.*/)?"), end
    if char == "*":
        return "[^/]*", at + 1
    if char == "?":
        return "[^/]", at + 1
    if char == "[":
        return _translate_class(pattern, at)
    if char == "\\":
        if at + 1 == len(pattern):
            raise ValueError(pattern)
        return re.escape(pattern[at + 1]), at + 2
    return re.escape(char), at + 1


def _translate_class(pattern: str, at: int) -> tuple[str, int]:
    """Return a class such as `[a-z]` or `[^0-9]`; raises `ValueError` for one without an end."""
    found = re.compile(r"\[(\^?)((?:\\.|[^\]\\])+)\]").match(pattern, at)
    if found is None:
        raise ValueError(pattern)
    inner = re.sub(r"([\[&|~])", r"\\\1", found[2])
    return f"[{found[1]}{inner}]", found.end()
