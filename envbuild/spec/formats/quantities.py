"""Amounts written with a unit (`4g`, `30d`) and plain version numbers (`2.36`)."""

from __future__ import annotations

import re
from typing import Final

from envbuild.spec.formats.base import Format

__all__ = ["DURATION", "MEMORY", "VERSION", "parse_duration", "parse_memory"]

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES: Final = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_LONG_UNITS: Final = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m",
    "minute": "m", "minutes": "m", "hr": "h", "hour": "h", "hours": "h", "day": "d", "days": "d",
}  # fmt: skip


def _explain_memory(text: str) -> str | None:
    found = re.fullmatch(r"([1-9][0-9]*)\s*([kmgt])i?b?", text.strip(), re.IGNORECASE)
    if found:
        return f"write `{found[1]}{found[2].lower()}`"
    if re.fullmatch(r"[0-9]+", text):
        return "the unit is missing"
    return None


MEMORY = Format(
    name="memory size",
    expected="a whole number and a unit (`k`, `m`, `g` or `t`, steps of 1024)",
    examples=("4g", "512m"),
    pattern=r"[1-9][0-9]{0,11}[kmgt]",
    explain=_explain_memory,
)


def _explain_duration(text: str) -> str | None:
    found = re.fullmatch(r"([1-9][0-9]*)\s*([A-Za-z]+)", text.strip())
    if found:
        unit = found[2].lower()
        unit = _LONG_UNITS.get(unit, unit)
        return f"write `{found[1]}{unit}`" if unit in _SECONDS else None
    if re.fullmatch(r"[0-9]+", text):
        return "the unit is missing" if int(text) else "write a time above zero"
    return None


DURATION = Format(
    name="duration",
    expected="a whole number and a unit (`s`, `m`, `h` or `d`)",
    examples=("90s", "15m", "2h", "30d"),
    pattern=r"[1-9][0-9]{0,8}[smhd]",
    explain=_explain_duration,
)

VERSION = Format(
    name="version number",
    expected="numbers with dots between",
    examples=("2.36", "12.4"),
    pattern=r"[0-9]+(?:\.[0-9]+)*",
)


def parse_duration(text: str) -> float:
    """Return the seconds of a `DURATION` such as `15m`. Raises `ValueError` for another text."""
    if not re.fullmatch(DURATION.pattern, text):
        raise ValueError(DURATION.check(text))
    return float(int(text[:-1]) * _SECONDS[text[-1]])


def parse_memory(text: str) -> int:
    """Return the bytes of a `MEMORY` such as `4g`. Raises `ValueError` for another text."""
    if not re.fullmatch(MEMORY.pattern, text):
        raise ValueError(MEMORY.check(text))
    return int(text[:-1]) * _BYTES[text[-1]]
