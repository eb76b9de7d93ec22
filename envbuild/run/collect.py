"""Bring the declared outputs of a run into its folder; what is missing is said, not an error."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from envbuild.engine.outputs import Collected
from envbuild.run.record import RunFolder
from envbuild.run.recorder import Outcome

__all__ = ["Fetch", "collect_outputs", "move_output"]

Fetch = Callable[[str, Path], Collected]
"""Fetches one output (relative to the working folder) as the given file or folder."""


def collect_outputs(
    outputs: Sequence[str], folder: RunFolder, outcome: Outcome, fetch: Fetch
) -> Outcome:
    """Return the outcome with what was found and what wasn't.

    Outer folders come first: an output within one that is there already needs no second fetch.
    """
    found: list[str] = []
    missing: list[str] = []
    notes: list[str] = []
    for output in sorted(dict.fromkeys(outputs), key=lambda o: len(PurePosixPath(o).parts)):
        place = folder.find_place(output)
        if any(PurePosixPath(output).is_relative_to(outer) for outer in found):
            (found if place.exists() else missing).append(output)
            continue
        result = fetch(output, place)
        notes += result.notes
        (found if result.found else missing).append(output)
    return dataclasses.replace(
        outcome, found=tuple(found), missing=tuple(missing), notes=(*outcome.notes, *notes)
    )


def move_output(work: Path, output: str, target: Path) -> Collected:
    """Move an output of the folder `work` to `target`, without what a container won't give either.

    Links out of it, devices, pipes and sockets are left out, each with a note.
    """
    made = work / output
    if not os.path.lexists(made):
        return Collected(found=False)
    if made.is_symlink() or not made.parent.resolve().is_relative_to(work.resolve()):
        note = f"`{output}` was left out: a link leads there"
        return Collected(found=False, notes=(note,))
    if target.exists():
        return Collected(found=False, notes=(f"`{target}` is there already",))
    notes = tuple(_sweep(made)) if made.is_dir() else ()
    target.parent.mkdir(parents=True, exist_ok=True)
    made.rename(target)
    return Collected(found=True, notes=notes)


def _sweep(folder: Path) -> Iterator[str]:
    """Remove devices, pipes, sockets and links out of the folder; yield a note for each."""
    root = folder.resolve()
    # All are judged before the first goes: a link to a link would dangle then.
    judged = [(path, _find_reason(path, root)) for path in sorted(folder.rglob("*"))]
    for path, why in judged:
        if why is not None:
            path.unlink()
            yield f"`{folder.name}/{path.relative_to(folder)}` was left out: {why}"


def _find_reason(path: Path, root: Path) -> str | None:
    """Return why something can't stay among the outputs below `root`; None if it can."""
    if path.is_symlink():
        return None if _stays_inside(path, root) else "it links out of the outputs or in a circle"
    if path.is_file() or path.is_dir():
        return None
    return "it is neither file, folder nor link"


def _stays_inside(link: Path, root: Path) -> bool:
    """Tell if a symbolic link is relative and ends below `root`."""
    try:
        return not link.readlink().is_absolute() and link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a circle; Python before 3.13 raises RuntimeError
        return False
