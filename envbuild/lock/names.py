"""Spells package names the one way that their index compares them."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["normalise_name"]

_RUNS: Final = re.compile(r"[-_.]+")


def normalise_name(name: str) -> str:
    """Return a Python distribution's name as PEP 503 compares it: `Ruamel_Yaml` is `ruamel-yaml`.

    The same as `packaging.utils.canonicalize_name`, without its import: this runs for every
    requirement of every environment when there is nothing to do.
    """
    return _RUNS.sub("-", name).lower()
