"""A worker process, `python -m envbuild.image.worker CACHE [fresh]`: makes layers.

Jobs come in and layers go out as length-prefixed pickles; both ends are this very program. It ends
when its stdin does, so it outlives its parent by no more than a moment, and cleans up on SIGTERM.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import struct
import sys
import threading
from pathlib import Path
from typing import IO, Any, Final, NoReturn

from envbuild.errors import EnvbuildError
from envbuild.image.work import LayerJob, Workbench
from envbuild.kit.places import Cache

__all__ = ["read_message", "write_message"]

_LENGTH: Final = struct.Struct("<Q")


def write_message(file: IO[bytes], value: Any) -> None:
    """Send one value."""
    data = pickle.dumps(value)
    file.write(_LENGTH.pack(len(data)) + data)
    file.flush()


def read_message(file: IO[bytes]) -> Any:
    """Return the next value; raises `EOFError` where the other end is gone."""
    (size,) = _LENGTH.unpack(_read(file, _LENGTH.size))
    return pickle.loads(_read(file, size))  # noqa: S301 - from our own parent or child


def _read(file: IO[bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = file.read(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _listen(jobs: queue.SimpleQueue[LayerJob]) -> None:
    """Pass jobs on as they come; end the process when there will be none any more."""
    # Unbuffered: a buffer has a lock, on which the process would hang when it ends.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as stdin:
        try:
            while True:
                jobs.put(read_message(stdin))
        except EOFError:
            os.kill(os.getpid(), signal.SIGTERM)


def _leave(_number: int, _frame: object) -> NoReturn:
    raise SystemExit


def _main(cache: str, *how: str) -> None:
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs: queue.SimpleQueue[LayerJob] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    with Workbench(Cache(root=Path(cache)), fresh="fresh" in how) as bench:
        while True:
            job = jobs.get()
            try:
                result: object = bench.make(job)
            except EnvbuildError as error:
                result = error
            write_message(sys.stdout.buffer, result)


if __name__ == "__main__":
    _main(*sys.argv[1:])
