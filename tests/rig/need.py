"""What happens when a part of the rig can't be had: a failure in CI, a loud skip elsewhere."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["missing"]


def missing(part: str, how: str) -> NoReturn:
    """End the test because `part` is missing; `how` says how to get it."""
    text = f"{part} is missing: {how}"
    if os.environ.get("CI") == "true":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)
