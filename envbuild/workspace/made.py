"""Remembers which tables and lists of a spec `add` made, so that `remove` can take them away again.

Nothing in the file tells them from those that a person wrote, and an empty `[conda]` has a meaning.
So it counts only while the file is, byte for byte, as `add` or `remove` left it. Where nothing is
remembered, as on another machine or after an edit by hand, an empty list stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from envbuild.kit.canonical import digest_bytes
from envbuild.kit.files import write_atomic
from envbuild.spec.keys import KeyPath
from envbuild.spec.toml import parse_toml
from envbuild.spec.toml_edit import find_missing
from envbuild.workspace.workspace import Workspace

__all__ = ["load_made", "note_made"]


def load_made(workspace: Workspace, name: str, data: bytes) -> frozenset[KeyPath]:
    """Return the places in an environment's spec, now `data`, that `add` made, as far as known."""
    try:
        found = json.loads(workspace.repository.edit_file(name).read_bytes())
        if found["spec"] != digest_bytes(data):
            return frozenset()
        return frozenset(tuple(str(part) for part in place) for place in found["made"])
    except (OSError, ValueError, TypeError, KeyError):
        return frozenset()


def note_made(
    workspace: Workspace, name: str, places: Iterable[KeyPath], *, old: bytes, new: bytes
) -> None:
    """Remember which of the places `places` an edit has made: `new` has them, and `old` had not.

    What is not in the file any more is forgotten.
    """
    before, after = (parse_toml(data, where=name)[1] for data in (old, new))
    made = load_made(workspace, name, old).union(*(find_missing(before, place) for place in places))
    kept = sorted(place for place in made if not find_missing(after, place))
    file = workspace.repository.edit_file(name)
    if kept:
        write_atomic(file, json.dumps({"spec": digest_bytes(new), "made": kept}) + "\n")
    else:
        file.unlink(missing_ok=True)
