"""Conda channels: does each one that an environment uses, or its mirror, answer?"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Final

from envbuild.doctor.finding import Finding, Visit
from envbuild.doctor.probe import ask, judge
from envbuild.kit.process import run_tool
from envbuild.kit.urls import strip_credentials
from envbuild.lock.channel import mirror_urls

__all__ = ["check_channels"]

# In a child, for a process that has used rattler may die at its end.
_NAME: Final = """
import os, sys
from rattler import Channel
print(Channel(sys.argv[1]).base_url, flush=True)
os._exit(0)
"""


def check_channels(visit: Visit) -> Iterator[Finding]:
    """Ask each channel, or what stands in for it, for its index of one platform."""
    wanted: dict[str, str] = {}
    for spec in visit.specs.values():
        for channel in spec.conda.channels if spec.conda else ():
            wanted.setdefault(channel, spec.platforms[0])
    for channel, platform in wanted.items():
        url = channel if _is_place(channel) else _find_url(visit, channel)
        shown = strip_credentials(channel)
        for place in mirror_urls(url.rstrip("/") + "/", visit.settings.mirrors):
            page = f"{place.rstrip('/')}/{platform}/repodata.json"
            answer = ask(page, visit.patience)
            absent = f"there is no index for `{platform}`"
            yield judge(f"channel `{shown}`", place, answer, absent=absent)


def _is_place(channel: str) -> bool:
    return "://" in channel or channel.startswith((os.sep, "."))


def _find_url(visit: Visit, channel: str) -> str:
    """Return the URL of a channel that is named, as the solver understands it."""
    argv = [sys.executable, "-c", _NAME, channel]
    return run_tool(argv, tool="rattler", logs=visit.workspace.cache.logs).strip()
