"""Registers envbuild's sessions with Nox: the one call that a noxfile makes.

This module is imported each time that Nox reads the noxfile, so it imports next to nothing and
reads no file; each session imports what it needs when it runs.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final

import nox

__all__ = ["SESSIONS", "register"]

SESSIONS: Final = {
    "lock": ("lock", "Resolve environments into lockfiles."),
    "rebase": ("rebase", "Put environments on the newest base; their own layers stay."),
    "check": ("check", "Check that every lockfile is up to date; no network, no solve."),
    "build-env": ("build", "Build the image of each environment, if it isn't there already."),
    "show": ("show", "Show what is in an environment's image, layer by layer."),
    "layer-index": ("layer_index", "List the layers of all images in the registry anew."),
    "train": ("train", "Run an environment's training script in its image."),
    "smoke": ("smoke", "Start an environment's web service and test it."),
    "explain": ("explain", "Show what an image tag is made of, or why two tags differ."),
}
"""Session name to its module in this package, and its line in `nox --list`."""


def register(root: str | Path | None = None) -> None:
    """Register the sessions for the repository at `root` (default: the noxfile's folder).

    Call it once in `noxfile.py`. All sessions take environment names after `--`, and `--help`.
    """
    # Nox has changed into the noxfile's folder before it runs the file.
    place = Path(root) if root is not None else Path.cwd()
    for name, (module, summary) in SESSIONS.items():
        _register(name, module, summary, place.resolve())


def _register(name: str, module: str, summary: str, root: Path) -> None:
    def body(session: nox.Session) -> None:
        from envbuild.sessions.guard import guarded

        work = importlib.import_module(f"envbuild.sessions.{module}")
        guarded(session, name, root, work.run)

    body.__doc__ = summary
    nox.session(name=name, venv_backend="none", default=False, tags=["envbuild"])(body)
