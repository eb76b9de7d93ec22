"""A day or a moment, written as RFC 3339 has them: where a lock's world ends."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

from envbuild.spec.formats.base import Format

__all__ = ["MOMENT", "parse_moment"]

_DAY: Final = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_ZONE: Final = r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"


def _explain_moment(text: str) -> str | None:
    if re.fullmatch(rf"{_DAY}[T ]{_TIME}", text):
        return f"the time zone is missing: `{text.replace(' ', 'T')}Z`"
    if re.fullmatch(rf"{_DAY}(?:T{_TIME}{_ZONE})?", text):
        try:
            parse_moment(text)
        except (ValueError, OverflowError):
            return "there is no such day"
    return None


MOMENT = Format(
    name="day or time",
    expected="a day, or a time with its time zone",
    examples=("2026-01-31", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00+01:00"),
    pattern=rf"{_DAY}(?:T{_TIME}{_ZONE})?",
    explain=_explain_moment,
    exact=False,
)


def parse_moment(text: str) -> dt.datetime:
    """Return the first moment, in UTC, that a `MOMENT` leaves out: a day is in to its end.

    Raises `ValueError` or `OverflowError` for a text that is no such day or time.
    """
    if "T" in text:
        return dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    day = dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
    return day + dt.timedelta(days=1)
