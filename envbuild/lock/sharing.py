"""Solves what several environments ask alike once, and tells each of them in its own name.

A solve is a function of its request, and no environment's name is in that: while it runs, the
environment is called `NAMELESS`, and whatever is said of it gets the name of whoever asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final, TypeVar

from envbuild.errors import EnvbuildError
from envbuild.kit.canonical import digest_json
from envbuild.kit.progress import Progress

__all__ = ["NAMELESS", "Sharing", "make_key"]

NAMELESS: Final = "\0"
"""Stands for the environment's name in what a solve says; no tool and no file has it in a text."""

T = TypeVar("T")


@dataclass(kw_only=True, slots=True)
class _Solve:
    """One solve: how it ended, once `over` is set, and what it had to note."""

    over: threading.Event = field(default_factory=threading.Event)
    notes: list[str] = field(default_factory=list)
    result: Any = None
    error: EnvbuildError | None = None
    fault: BaseException | None = None
    """What nobody expected, or `Stopped`: then all who wait end as whoever did it."""


class Sharing:
    """The solves of one command, which sees one state of the world; for many threads at once."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._solves: dict[str, _Solve] = {}

    def solve(self, key: str, work: Callable[[Progress], T], *, task: str, progress: Progress) -> T:
        """Return `work`'s result, which was done once for all who gave the same `key`.

        `key` covers all that the result depends on, apart from what is one in a command:
        settings, cache, repository. `work` calls the environment `NAMELESS`, in errors, notes and
        to the progress that it gets; here all of that is said of `task`. A failure is everybody's:
        each gets an error of its own. Ctrl-C stops whoever does it, and then all who wait for it.
        """
        with self._guard:
            first = key not in self._solves
            solve = self._solves.setdefault(key, _Solve())
        if first:
            try:
                solve.result = work(_Relay(task=task, progress=progress, notes=solve.notes))
            except EnvbuildError as error:
                solve.error = error
            except BaseException as error:
                solve.fault = error
                raise
            finally:
                solve.over.set()
        solve.over.wait()
        for note in solve.notes:
            progress.note(note.replace(NAMELESS, task))
        if solve.error is not None:
            raise _say_of(task, solve.error) from solve.error
        if solve.fault is not None:
            raise solve.fault
        found: T = solve.result
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Relay:
    """The `Progress` of a solve: shown under the name of who began it, notes kept for all."""

    task: str
    progress: Progress
    notes: list[str]

    def update(self, task: str, doing: str, done: int = 0, total: int = 0) -> None:
        self.progress.update(task.replace(NAMELESS, self.task), doing, done, total)

    def finish(self, task: str, outcome: str) -> None:
        self.progress.finish(task.replace(NAMELESS, self.task), outcome)

    def note(self, text: str) -> None:
        self.notes.append(text)


def _say_of(task: str, error: EnvbuildError) -> EnvbuildError:
    """Return a copy of `error` that is about the environment `task`."""
    own = type(error).__new__(type(error), *error.args)
    for name, value in vars(error).items():
        setattr(own, name, value.replace(NAMELESS, task) if isinstance(value, str) else value)
    own.args = (own.code, own.message)
    return own


def make_key(*parts: object) -> str:
    """Return one key for equal parts: data classes, mappings, sets, sequences and plain values."""
    return digest_json(_plain(parts))


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, AbstractSet):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
