"""An entry of a layer: one path with its type, mode and content, and nothing of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Body", "Entry", "Kind", "Piece"]

Kind = Literal["file", "directory", "symlink", "hardlink"]
"""What stands at a path."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A run of a file's content: plain bytes, or a raw deflate stream that is kept as it is.

    `size` (bytes) and `crc32` are those of the plain content, which a zip's directory has; the
    layer writer inflates a deflated piece to check both, and splices the stream. A plain piece
    may leave them out (0). `sha256` is the plain content's, 32 bytes, where the archive says; it
    is checked where that is cheap. `source` names member and archive for messages. `data` may be
    read once only.
    """

    data: Iterable[bytes]
    deflated: bool = False
    size: int = 0
    crc32: int = 0
    sha256: bytes = b""
    source: str = ""


Body = Callable[[], Piece]
"""Opens a file's content: each call gives it from the start, and costs little until it is read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One member of a layer.

    `path` is relative, `/`-separated, without `.` or `..` (`opt/env/bin/python`). `mode` has the
    permission bits only. `size` is the plain size of a file's content in bytes; `link` the target
    of a symbolic link, or for a hard link the path of an entry before it.
    """

    path: str
    kind: Kind
    mode: int = 0o644
    size: int = 0
    link: str = ""
    body: Body | None = None
    owner: int = 0
    """uid and gid; 0 for all that packages bring."""
