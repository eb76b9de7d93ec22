"""Points at the lines of files that errors are about, in the words of GitHub Actions.

Syntax: GitHub's "Workflow commands", `::error file=PATH,line=N,title=TITLE::MESSAGE`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["annotate", "render_annotations"]


def annotate(errors: Sequence[dict[str, Any]], root: Path) -> None:
    """Write one annotation for each problem to standard error where GitHub Actions runs this."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    top = Path(os.environ.get("GITHUB_WORKSPACE") or root).resolve()
    for line in render_annotations(errors, root=root, top=top):
        print(line, file=sys.stderr, flush=True)


def render_annotations(errors: Sequence[dict[str, Any]], *, root: Path, top: Path) -> Iterator[str]:
    """Yield the commands for `errors`, as `list_errors` has them.

    Files are named from `top`, the checkout, if the repository `root` is in it.
    """
    place = root.resolve()
    below = place.relative_to(top) if place.is_relative_to(top) else Path()
    for error in errors:
        problems = error["problems"] or [{}]
        for problem in problems:
            where = problem.get("file") or _guess_file(error, root)
            key = problem.get("key")
            said = f"{key}: {problem['message']}" if key else _say(error)
            fields = {
                "file": (below / where).as_posix() if where else None,
                "line": problem.get("line"),
                "title": error["code"],
            }
            listed = ",".join(f"{k}={_escape(str(v), ':,')}" for k, v in fields.items() if v)
            yield f"::error {listed}::{_escape(said)}"


def _say(error: dict[str, Any]) -> str:
    return f"{error['message']}\nhint: {error['hint']}" if error["hint"] else str(error["message"])


def _guess_file(error: dict[str, Any], root: Path) -> str | None:
    """Return the spec of the environment that an error is about."""
    spec = f"envs/{error['environment']}.toml"
    return spec if error["environment"] and (root / spec).is_file() else None


def _escape(text: str, more: str = "") -> str:
    for sign in ("%", "\r", "\n", *more):
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text
