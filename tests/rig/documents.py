"""What `docs/ci.md` says of the JSON document of each session."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["find_undocumented", "read_rows"]

_PAGE = Path(__file__).parents[2] / "docs" / "ci.md"


def read_rows() -> dict[str, str]:
    """Return the text of each row of the table, by the call that it is about."""
    table = _PAGE.read_text().partition("| session | document |")[2].partition("\n\n")[0]
    cells = [line.strip("|").split("|", 1) for line in table.splitlines()[2:]]
    return {call: text for names, text in cells for call in re.findall(r"`([^`]+)`", names)}


def find_undocumented(call: str, document: object) -> set[str]:
    """Return the keys of a document (of the first, where it is a list) that its row doesn't name.

    A document by environment is that of the environment `demo`. A row of an option adds to that of
    its session.
    """
    rows = read_rows()
    text = rows[call] + rows[call.split()[0]]
    value = document["demo"] if isinstance(document, dict) and "demo" in document else document
    value = value[0] if isinstance(value, list) else value
    keys = set(value) if isinstance(value, dict) else {str(value)}
    return keys - set(re.findall(r"`\"?([^`\"]+)\"?`", text))
