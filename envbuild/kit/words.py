"""Words that messages of every room share."""

from __future__ import annotations

__all__ = ["say_count"]


def say_count(number: int, noun: str) -> str:
    """Return a number with its noun, which has an `s` unless there is one: `1 lock`, `2 locks`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
