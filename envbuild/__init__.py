"""Declarative machine-learning environments on top of Nox: lock, assemble, train, smoke-test.

A noxfile calls `envbuild.register()` once; everything else happens in the sessions.
"""

from __future__ import annotations

from pathlib import Path

from envbuild.version import __version__

__all__ = ["__version__", "register"]


def register(root: str | Path | None = None) -> None:
    """Register envbuild's sessions for the repository at `root` (default: the noxfile's folder)."""
    from envbuild.sessions.register import register as register_sessions

    register_sessions(root)
