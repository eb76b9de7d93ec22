"""Does the same work for many environments side by side; one failure doesn't stop the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Final, TypeVar

from envbuild.errors import EnvbuildError
from envbuild.kit.process import stop_tools
from envbuild.kit.progress import Progress

__all__ = ["ManyError", "run_many"]

_AT_ONCE: Final = max(4, os.cpu_count() or 1)
"""Environments at a time: much of the work is waiting for others' servers."""

T = TypeVar("T")


class ManyError(EnvbuildError):
    """Some environments failed; holds the error of each."""

    def __init__(self, errors: dict[str, EnvbuildError], total: int) -> None:
        names = ", ".join(f"`{name}`" for name in errors)
        super().__init__(
            "session.failed", f"{len(errors)} of {total} environments failed: {names}"
        )
        self.errors = errors

    def __str__(self) -> str:
        return "\n\n".join([str(error) for error in self.errors.values()] + [super().__str__()])


def run_many(
    names: Sequence[str], work: Callable[[str], T], *, progress: Progress
) -> dict[str, T]:
    """Return `work(name)` of each name, in the order of `names`.

    Raises the error of the only failure, or a `ManyError` once all are done. Ctrl-C ends child
    processes and drops what has not begun.
    """
    if len(names) == 1:
        return {names[0]: work(names[0])}
    results: dict[str, T] = {}
    errors: dict[str, EnvbuildError] = {}
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        try:
            futures = {pool.submit(work, name): name for name in names}
            for future in as_completed(futures):
                name = futures[future]
                try:
                    results[name] = future.result()
                except EnvbuildError as error:
                    errors[name] = error
                    progress.finish(name, f"failed [{error.code}]")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop_tools()
            raise
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        raise ManyError({n: errors[n] for n in names if n in errors}, len(names))
    return {name: results[name] for name in names}
