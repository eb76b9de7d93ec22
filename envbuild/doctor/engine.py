"""Docker Engine: does it answer, and can it do what the environments ask of it?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from envbuild.doctor.finding import Finding, Visit, describe, say_names
from envbuild.errors import EngineError

__all__ = ["check_engine"]

_UNTOLD = ("No swap limit support", "No blkio", "is insecure", "bridge-nf-call")
"""Warnings of the engine about what envbuild doesn't use."""


def check_engine(visit: Visit) -> Iterator[Finding]:
    """Say which engine answers; none is a problem where environments can't do without one."""
    from envbuild.engine.client import connect_engine, explained

    needed = visit.find(
        lambda s: s.smoke or s.image.dockerfile or (s.conda and s.conda.link_scripts == "run")
    )
    try:
        engine = connect_engine()
    except EngineError as error:
        why = f" ({say_names(needed)} can't do without one)" if needed else ""
        found = describe("engine", error, state="problem" if needed else "warning")
        yield Finding(
            subject=found.subject, state=found.state, message=found.message + why, hint=found.hint
        )
        return
    with engine, explained("tell about itself", address=engine.address):
        facts = engine.client.info()
        yield Finding(
            subject="engine",
            message=f"Docker Engine {engine.version} at `{engine.address}`, API {engine.api}, "
            f"{facts.get('OSType')}/{facts.get('Architecture')}, "
            f"storage {facts.get('Driver')}, cgroups {facts.get('CgroupVersion', '1')}",
        )
        yield from _check_limits(facts)
        yield from _check_gpus(visit, facts)


def _check_limits(facts: Mapping[str, Any]) -> Iterator[Finding]:
    limits = {"MemoryLimit": "memory", "CpuCfsQuota": "processors"}
    missing = [word for key, word in limits.items() if not facts.get(key)]
    if missing:
        yield Finding(
            subject="limits",
            state="warning",
            message=f"the engine can't limit {' and '.join(missing)} of containers",
            hint="start the kernel with `cgroup_enable=memory`, or give the engine cgroups",
        )
    else:
        yield Finding(subject="limits", message="memory and processors of containers are limited")
    for text in facts.get("Warnings") or ():
        if not any(words in text for words in _UNTOLD) and not missing:
            yield Finding(
                subject="engine",
                state="warning",
                message=f"the engine warns: {text.removeprefix('WARNING: ')}",
                hint="see all it says with `docker info`",
            )


def _check_gpus(visit: Visit, facts: Mapping[str, Any]) -> Iterator[Finding]:
    def wants(tables: tuple[Any, ...]) -> bool:
        return any(table is not None and table.resources.gpus > 0 for table in tables)

    names = visit.find(lambda s: wants((s.train, s.smoke)))
    if names and "nvidia" not in (facts.get("Runtimes") or {}):
        yield Finding(
            subject="GPUs",
            state="warning",
            message=f"the engine has no runtime for GPUs, which {say_names(names)} asks for",
            hint="install `nvidia-container-toolkit`, then run "
            "`nvidia-ctk runtime configure --runtime=docker` and start the engine anew",
        )
