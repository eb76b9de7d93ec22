"""Declarative machine-learning environments on top of Nox: lock, assemble, train, smoke-test.

A noxfile calls `envbuild.register()` once; everything else happens in the sessions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["__version__", "register"]

__version__: Final = "0.1.0"


def register(root: str | Path | None = None) -> None:
    """Register envbuild's sessions for the repository at `root` (default: the noxfile's folder)."""
    from envbuild.sessions.register import register as register_sessions

    register_sessions(root)
