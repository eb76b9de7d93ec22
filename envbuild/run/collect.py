"""Bring the declared outputs of a run into its folder; what is missing is said, not an error."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from envbuild.engine.outputs import Collected
from envbuild.run.record import RunFolder
from envbuild.run.recorder import Outcome

__all__ = ["Fetch", "collect_outputs"]

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
