"""A worker process, `python -m envbuild.image.worker STORE PACKS [fresh]`: makes layers.

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
from envbuild.oci.store import Store

__all__ = ["read_message", "write_message"]

_LENGTH: Final = struct.Struct("<Q")


def write_message(file: IO[bytes], value: Any) -> None:
    """Send one value."""
    data = pickle.dumps(value)
    file.write(_LENGTH.pack(len(data)) + data)
    file.flush()


def read_message(file: IO[bytes]) -> Any:
    """Return the next value; raises `EOFError` where the other end is gone."""
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (size,) = _LENGTH.unpack(head)
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)  # noqa: S301 - from our own parent or child


def _listen(jobs: queue.SimpleQueue[LayerJob]) -> None:
    """Pass jobs on as they come; end the process when there will be none any more."""
    try:
        while True:
            jobs.put(read_message(sys.stdin.buffer))
    except EOFError:
        os.kill(os.getpid(), signal.SIGTERM)


def _leave(_number: int, _frame: object) -> NoReturn:
    raise SystemExit


def _main(store: str, packs: str, *how: str) -> None:
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs: queue.SimpleQueue[LayerJob] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    with Workbench(Store(Path(store)), Path(packs), fresh="fresh" in how) as bench:
        while True:
            job = jobs.get()
            try:
                result: object = bench.make(job)
            except EnvbuildError as error:
                result = error
            write_message(sys.stdout.buffer, result)


if __name__ == "__main__":
    _main(*sys.argv[1:])
