"""Makes many layers side by side, in processes where that pays for starting them.

Much of the work is Python's own, so threads would wait for each other's interpreter lock.
"""

from __future__ import annotations

import os
import queue
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from envbuild.errors import EnvbuildError, ImageError
from envbuild.image.config import Layer
from envbuild.image.site import Site
from envbuild.image.work import LayerJob, Workbench
from envbuild.kit.crew import run_crew

if TYPE_CHECKING:
    import subprocess

__all__ = ["make_layers"]

_WORTH_IT: Final = 4 << 20
"""Bytes of archives from which processes are started: each takes about as long as these do."""

Done = Callable[[LayerJob, Layer, float], None]
"""Hears of a job, its layer, and the seconds that it took."""


def make_layers(site: Site, jobs: Sequence[LayerJob], *, done: Done) -> None:
    """Make the layers, the biggest first so that none is left alone at the end.

    `done` hears of each as it is finished, from any thread. Raises the first `ImageError`: at
    once, or with `site.thorough` when all that can be made is made. Then and on Ctrl-C all
    processes are ended and nothing unfinished is left.
    """
    ordered = sorted(jobs, key=lambda job: job.size, reverse=True)
    count = min(os.cpu_count() or 1, len(ordered))
    failures: list[EnvbuildError] = []

    def attempt(make: Callable[[LayerJob], Layer], job: LayerJob) -> None:
        start = time.monotonic()
        try:
            layer = make(job)
        except EnvbuildError as error:
            if not site.thorough:
                raise
            failures.append(error)
            return
        done(job, layer, time.monotonic() - start)

    if count < 2 or sum(job.size for job in ordered) < _WORTH_IT:
        _make_here(site, ordered, attempt)
    else:
        _make_in_processes(site, ordered, count, attempt)
    if failures:
        raise failures[0]


_Attempt = Callable[[Callable[[LayerJob], Layer], LayerJob], None]


def _make_here(site: Site, jobs: Sequence[LayerJob], attempt: _Attempt) -> None:
    with Workbench(site.cache, fresh=site.fresh) as bench:

        def make(job: LayerJob, check: Callable[[], None]) -> None:
            attempt(lambda job: bench.make(job, check), job)

        run_crew(make, jobs, threads=1)


def _make_in_processes(site: Site, jobs: Sequence[LayerJob], count: int, attempt: _Attempt) -> None:
    from envbuild.kit.process import open_child

    argv = [sys.executable, "-P", "-m", "envbuild.image.worker", str(site.cache.root)]
    argv += ["fresh"] if site.fresh else []
    with ExitStack() as stack:
        idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for _ in range(count):
            idle.put(stack.enter_context(open_child(argv)))
        failures: list[BaseException] = []

        def make(job: LayerJob, check: Callable[[], None]) -> None:
            worker = idle.get()
            check()
            try:
                attempt(lambda job: _ask(worker, job), job)
            except BaseException as error:  # noqa: BLE001 - raised again below
                failures.append(error)
                stack.close()  # the others need not finish what nobody wants any more
                raise failures[0] from None
            idle.put(worker)

        run_crew(make, jobs, threads=count)


def _ask(worker: subprocess.Popen[bytes], job: LayerJob) -> Layer:
    from envbuild.image.worker import read_message, write_message

    if worker.stdin is None or worker.stdout is None:
        raise ValueError("a worker has pipes")
    try:
        write_message(worker.stdin, job)
        result: Layer | EnvbuildError = read_message(worker.stdout)
    except (EOFError, BrokenPipeError, ValueError):
        raise ImageError(
            "image.worker",
            f"the process that made the layer `{job.title}` is gone",
            hint="was it killed, or out of memory? run the same command again",
        ) from None
    if isinstance(result, EnvbuildError):
        raise result
    return result
