"""What narrows a value beyond its type: a text's format, a number's range, a list's size."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Format", "Items", "Range", "hide_secrets", "show_text"]

_SHOWN = 60
_LONGEST_ADVICE = 300
# Texts, not compiled patterns: `re` compiles and keeps each on its first use, so that importing the
# formats costs nothing.
_SECRETS = (
    (r"(?<=://)\S*@", "***@"),
    (r"(?<=/t/)[^/\s]+", "***"),
    (r"(?i)(?<=[?&])([A-Za-z_-]*(?:token|key|pass\w*|sig|secret)=)[^&\s]+", r"\1***"),
)


def hide_secrets(text: str) -> str:
    """Return `text` with whatever in it may be a URL's credential replaced by `***`.

    That is the part before `@`, the token of anaconda's `/t/TOKEN/` and a query's secret.
    A reference, `${NAME}`, goes too: what is left is enough to find the place.
    """
    for pattern, replacement in _SECRETS:
        text = re.sub(pattern, replacement, text)
    return text


def show_text(text: str) -> str:
    """Return `text` as a message shows it: quoted as in TOML, short, without secrets."""
    hidden = hide_secrets(text)
    short = hidden if len(hidden) <= _SHOWN else f"{hidden[: _SHOWN - 3]}..."
    return f"`{json.dumps(short, ensure_ascii=False)}`"


def _say_nothing(text: str) -> str | None:  # noqa: ARG001 - as every format's
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """What a text must look like.

    `expected` says it in words that follow "expected"; the first of `examples` is shown in
    messages. `pattern` matches the whole of every right text; it also goes into the JSON schema, so
    it keeps to what Python's and JavaScript's regular expressions have in common. `explain` is
    asked about a text that does not match, and may add what to do; with `exact=False` it is also
    asked about one that does, and refuses it by giving a reason. `choices`, if any, are all the
    right texts. `splits` says that a text with spaces was probably meant to be several.
    """

    name: str
    expected: str
    examples: tuple[str, ...]
    pattern: str
    explain: Callable[[str], str | None] = _say_nothing
    exact: bool = True
    choices: tuple[str, ...] = ()
    splits: bool = False

    @property
    def example(self) -> str:
        return self.examples[0]

    def check(self, text: str) -> str | None:
        """Return what is wrong with `text`, as the message of a problem, or None."""
        if re.fullmatch(self.pattern, text):
            if self.exact:
                return None
            reason = self.explain(text)
            if reason is None:
                return None
        else:
            reason = self.explain(text)
        message = f"expected {self.expected}, such as `{self.example}`, not {show_text(text)}"
        return f"{message}; {reason}" if reason and len(reason) <= _LONGEST_ADVICE else message


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Which numbers are right: from `least` (or above `above`) to `most`, ends included."""

    least: int | None = None
    above: int | None = None
    most: int | None = None
    example: str = "1"

    def holds(self, value: float) -> bool:
        """Say whether `value` is in the range."""
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
        )

    @property
    def expected(self) -> str:
        """The range in words that follow "a number"."""
        if self.above is not None:
            return f"above {self.above}"
        if self.most is not None:
            return f"from {self.least} to {self.most}"
        return f"of at least {self.least}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Items:
    """How many items a list must have at least, and whether one may come twice."""

    least: int = 0
    unique: bool = False
