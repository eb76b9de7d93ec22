"""Runs all checks side by side; one that hangs or fails keeps no other from being heard."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from typing import Final

from envbuild.doctor.finding import Check, Finding, Visit, describe
from envbuild.errors import EnvbuildError
from envbuild.kit.process import stop_tools

__all__ = ["examine"]

_LONGEST: Final = 45.0
"""Seconds after which no check is waited for any more."""


def examine(
    visit: Visit, checks: Mapping[str, Check], *, longest: float = _LONGEST
) -> dict[str, list[Finding]]:
    """Return what each check found, in the order of `checks`.

    A check that raises `EnvbuildError`, or isn't done after `longest` seconds, has a problem more;
    what it had found by then counts.
    """
    found: dict[str, list[Finding]] = {name: [] for name in checks}
    done: queue.SimpleQueue[tuple[str, BaseException | None]] = queue.SimpleQueue()

    def run(name: str, check: Check) -> None:
        try:
            for finding in check(visit):
                found[name].append(finding)
        except EnvbuildError as error:
            found[name].append(describe(name, error))
        except OSError as error:
            found[name].append(_refused(name, error))
        except BaseException as error:  # noqa: BLE001 - a bug, raised by the waiting thread
            done.put((name, error))
            return
        done.put((name, None))

    for name, check in checks.items():
        threading.Thread(target=run, args=(name, check), daemon=True).start()
    waiting = set(checks)
    end = time.monotonic() + longest
    try:
        while waiting:
            name, error = done.get(timeout=max(0.0, end - time.monotonic()))
            if error is not None:
                raise error
            waiting.remove(name)
    except queue.Empty:
        pass
    finally:
        if waiting:
            stop_tools()
    late = [_late(name, longest) for name in waiting]
    return {name: [*found[name], *(f for f in late if f.subject == name)] for name in checks}


def _refused(name: str, error: OSError) -> Finding:
    place = f"`{error.filename}`: " if error.filename else ""
    return Finding(
        subject=name,
        state="problem",
        message=f"{place}{(error.strerror or type(error).__name__).lower()}",
        hint="check its owner and permissions, and whether the disk is full",
    )


def _late(name: str, longest: float) -> Finding:
    return Finding(
        subject=name,
        state="problem",
        message=f"this check had not ended after {longest:.0f} seconds",
        hint="see what hangs: a network without an answer, a disk that is gone",
    )
