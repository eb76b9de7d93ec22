"""The processes of this machine, as anybody can see them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["list_commands"]


def list_commands() -> Iterator[tuple[int, bytes]]:
    """Yield the PID and the command line (words ended by NUL) of each process that is there.

    The name of the file is not part of the pattern: glob would look for it in each folder, and
    that raises ProcessLookupError where the process ends in between.
    """
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(folder.name), (folder / "cmdline").read_bytes()
