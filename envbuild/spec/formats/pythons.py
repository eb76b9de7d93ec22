"""The wanted version of Python: texts that leave no doubt about its minor version."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from envbuild.spec.formats.base import Format

__all__ = ["PYTHON", "PythonRequest", "parse_python"]

_EXACT = r"=?=?(3\.[0-9]{1,3})\.([0-9]{1,3})"
_MINOR = r"=?(3\.[0-9]{1,3})|=?=?(3\.[0-9]{1,3})\.\*"
_RANGE = r">= ?3\.([0-9]{1,3})(\.[0-9]{1,3})?, ?< ?3\.([0-9]{1,3})"
_COMPATIBLE = r"~= ?(3\.([0-9]{1,3}))(\.[0-9]{1,3})"


@dataclass(frozen=True, kw_only=True, slots=True)
class PythonRequest:
    """What a spec's `python` asks for.

    `minor` is `MAJOR.MINOR`; `conda` is the same wish as the version of a conda match spec, one
    text for each meaning (`3.11` and `==3.11.*` are both `3.11.*`); `narrow` is True where the
    wish is more than the minor version.
    """

    minor: str
    conda: str
    narrow: bool


def _request(minor: str, conda: str) -> PythonRequest:
    return PythonRequest(minor=minor, conda=conda, narrow=conda != f"{minor}.*")


def _read_range(text: str) -> PythonRequest | None:
    if found := re.fullmatch(_COMPATIBLE, text):
        low, next_minor, minor = found[1] + found[3], int(found[2]) + 1, found[1]
        return _request(minor, f">={low},<3.{next_minor}")
    found = re.fullmatch(_RANGE, text)
    if not found or int(found[3]) != int(found[1]) + 1:
        return None
    minor = f"3.{found[1]}"
    if found[2] in (None, ".0"):
        return _request(minor, f"{minor}.*")
    return _request(minor, f">={minor}{found[2]},<3.{found[3]}")


def _read(text: str) -> PythonRequest | None:
    if found := re.fullmatch(_EXACT, text):
        return _request(found[1], f"{found[1]}.{found[2]}")
    if found := re.fullmatch(_MINOR, text):
        minor = found[1] or found[2]
        return _request(minor, f"{minor}.*")
    return _read_range(text)


def _explain(text: str) -> str | None:
    if _read(text):
        return None
    if found := re.fullmatch(r"== ?(3\.[0-9]+)", text):
        return f"write `{found[1]}.*` for any of its releases, or a whole version"
    if re.fullmatch(r"=?=? ?3(?:\.\*)?|\*|[<>~!]=? ?[0-9].*", text):
        return "wheels and folders are made for one minor version, so it can't be left open"
    return None


PYTHON = Format(
    name="Python version",
    expected="one minor version of Python 3",
    examples=("3.11.*", "3.11", "3.11.7", "==3.11.*", ">=3.11,<3.12", ">=3.11.4,<3.12", "~=3.11.4"),
    pattern=rf"(?:{_EXACT}|{_MINOR}|{_RANGE}|{_COMPATIBLE})",
    explain=_explain,
    exact=False,
)


@functools.lru_cache(maxsize=256)
def parse_python(text: str) -> PythonRequest:
    """Return what `text`, a `PYTHON`, asks for. Raises `ValueError` for another text."""
    request = _read(text)
    if request is None:
        raise ValueError(PYTHON.check(text))
    return request
