"""Does the same work for many environments side by side; one failure doesn't stop the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from envbuild.errors import EnvbuildError
from envbuild.kit.crew import run_crew
from envbuild.kit.progress import Progress

__all__ = ["ManyError", "raise_errors", "run_many"]

_AT_ONCE: Final = max(4, os.cpu_count() or 1)
"""Environments at a time: much of the work is waiting for others' servers."""

T = TypeVar("T")


class ManyError(EnvbuildError):
    """Some environments failed; holds the error of each."""

    def __init__(self, errors: dict[str, EnvbuildError], total: int) -> None:
        names = ", ".join(f"`{name}`" for name in errors)
        message = f"{len(errors)} of {total} environments failed: {names}"
        super().__init__("session.failed", message)
        self.errors = errors

    def __str__(self) -> str:
        return "\n\n".join([*(str(error) for error in self.errors.values()), super().__str__()])


def raise_errors(errors: dict[str, EnvbuildError], total: int) -> None:
    """Raise the only error there is, or one that holds them all; nothing if there are none."""
    for name, error in errors.items():
        error.environment = name
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        raise ManyError(errors, total)


def run_many(
    names: Sequence[str],
    work: Callable[[str], T],
    *,
    progress: Progress,
    glance: Callable[[str], T | None] = lambda _: None,
    stop: bool = False,
    tell: Callable[[dict[str, T]], object] = lambda _: None,
) -> dict[str, T]:
    """Return `work(name)` of each name, in the order of `names`.

    `glance` may know a result at once; it is asked for one after the other, because threads only
    get in each other's way where nothing has to be waited for. Raises the only failure, or a
    `ManyError`, once all are done; with `stop`, none is begun after a failure. `tell` gets the
    results that there are before that. Ctrl-C ends child processes and drops what has not begun.
    """
    results: dict[str, T | EnvbuildError | None] = {}
    for name in names:
        if (known := glance(name)) is not None:
            results[name] = known
            progress.finish(name, "up to date")

    failed = False

    def attempt(name: str, _check: Callable[[], None]) -> T | EnvbuildError | None:
        nonlocal failed
        if stop and failed:
            progress.finish(name, "not begun")
            return None
        try:
            return work(name)
        except EnvbuildError as error:
            failed = True
            progress.finish(name, f"failed [{error.code}]")
            return error

    todo = [name for name in names if name not in results]
    try:
        results |= zip(todo, run_crew(attempt, todo, threads=_AT_ONCE), strict=True)
    except BaseException:
        from envbuild.kit.process import stop_tools

        stop_tools()
        raise
    done = {
        name: result
        for name in names
        if (result := results[name]) is not None and not isinstance(result, EnvbuildError)
    }
    tell(done)
    raise_errors({n: r for n in names if isinstance(r := results[n], EnvbuildError)}, len(names))
    return done
