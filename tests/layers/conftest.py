"""What tests of layers share: a compiler, wheels from the index, and no deadline for properties."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from envbuild.layers.bytecode import Compiler
from tests.layers.modules import VERSION

# Machines that test are often busy.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture
def compiler() -> Iterator[Compiler]:
    with Compiler([sys.executable], version=VERSION) as made:
        yield made


@pytest.fixture(scope="module")
def library() -> dict[str, bytes]:
    """Some hundred real modules: this Python's own, with what they hold of every syntax."""
    folder = Path(sysconfig.get_path("stdlib"))
    paths = [p for p in sorted(folder.rglob("*.py")) if "site-packages" not in p.parts]
    chosen = [p for p in paths if p.stat().st_size < 60_000][::3]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in chosen}
