"""The clock: certificates and signed archives are refused where it is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from envbuild.doctor.finding import Finding, Visit
from envbuild.doctor.indexes import default_index
from envbuild.doctor.probe import ask

__all__ = ["check_clock"]

_MOST: Final = 120.0
"""Seconds by which a clock may be wrong."""


def check_clock(visit: Visit) -> Iterator[Finding]:
    """Compare this machine's clock with that of a package index, if one says its time."""
    named = [spec.pip.index_url for spec in visit.specs.values() if spec.pip.index_url]
    url = next((u for u in named if u.startswith(("http:", "https:"))), default_index())
    answer = ask(f"{url.rstrip('/')}/pip/", visit.patience) if url else None
    if answer is None or answer.moment is None:
        return
    gap = abs(time.time() - answer.moment)
    if gap <= _MOST:
        yield Finding(subject="clock", message="is right")
        return
    yield Finding(
        subject="clock", state="warning",
        message=f"differs by {gap:.0f} seconds from that of a package index",
        hint="set it, for example with `timedatectl set-ntp true`",
    )  # fmt: skip
