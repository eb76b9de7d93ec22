"""Declarative machine-learning environments on top of Nox: lock, assemble, train, smoke-test.

A noxfile calls `envbuild.register()` once; everything else happens in the sessions. Scripts begin
with `Repository`, of `envbuild.api`, which is loaded when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envbuild.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from envbuild.api import Environment, Repository

__all__ = ["Environment", "Repository", "__version__", "register"]


def register(root: str | Path | None = None) -> None:
    """Register envbuild's sessions for the repository at `root` (default: the noxfile's folder)."""
    from envbuild.sessions.register import register as register_sessions

    register_sessions(root)


def __getattr__(name: str) -> object:
    """Load what scripts use; Nox reads noxfiles, which need none of it, at each start."""
    if name not in {"Environment", "Repository"}:
        raise AttributeError(f"module `envbuild` has no attribute `{name}`")
    from envbuild import api

    return getattr(api, name)
