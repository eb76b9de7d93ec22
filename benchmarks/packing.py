"""Which packages should share a layer: candidates, simulated on packing.json, offline.

A layer's blob is taken to be as big as its wheels: it is their deflate streams (measured: 0.99 of
their size). A Dockerfile has one layer of the same packages above a base that all share; the base
is left out on every side. `benchmarks/packing.toml` is where the environments come from.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.packing_data import DATA
from envbuild.identity.recipe import Base, ImageSettings, Recipe
from envbuild.layers.pack import plan_layers
from envbuild.layers.plan import ALONE, ALONE_BYTES, BUCKETS
from envbuild.lock.model import Wheel

__all__ = ["Candidate", "load_environments", "measure", "plan_here"]

Environment = tuple[Wheel, ...]
Layer = frozenset[Wheel]
Plan = Callable[[Environment], Sequence[Layer]]

_HUGE = 1_500_000_000
"""Environments beyond this have CUDA, a few huge packages that all share: a class of their own."""

_FEW_LAYERS = 60
"""Engines get slow beyond: a cold pull of 60 layers takes 9.0 s, of 22 7.3 s; a pull after a
change 5.3 s and 0.66 s (Docker Engine 20.10)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """Packages from `alone_bytes` on have a layer each, the `alone` biggest; `buckets` the rest."""

    alone_bytes: int
    alone: int
    buckets: int

    def plan(self, environment: Environment) -> Sequence[Layer]:
        ranked = sorted(environment, key=lambda w: (-w.size, w.name, w.sha256))
        big = {w for w in ranked[: self.alone] if w.size >= self.alone_bytes}
        buckets: dict[int, set[Wheel]] = {}
        for wheel in environment:
            if wheel not in big:
                spread = hashlib.sha256(wheel.name.encode()).digest()[:8]
                number = int.from_bytes(spread, "big") % self.buckets
                buckets.setdefault(number, set()).add(wheel)
        return [*(frozenset({w}) for w in big), *map(frozenset, buckets.values())]


_CANDIDATES = (
    (1 << 20, 12, 8), (8 << 20, 40, 8), (4 << 20, 40, 8), (2 << 20, 40, 8),
    (1 << 20, 40, 4), (1 << 20, 40, 16), (512 << 10, 40, 8), (256 << 10, 40, 8),
    (256 << 10, 80, 16), (0, 999, 1),
)  # fmt: skip


def plan_here(environment: Environment) -> Sequence[Layer]:
    """Return the layers that envbuild makes; the parts of a huge package count as one here."""
    recipe = Recipe(
        platform="linux-64", base=Base(kind="debian"), artifacts=environment, prefix="/opt/env",
        python_minor="3.11", interpreter="", settings=ImageSettings(user="nonroot", labels={}),
    )  # fmt: skip
    plans = [plan for plan in plan_layers(recipe) if plan.part == 0]
    return [frozenset(w for w in plan.artifacts if isinstance(w, Wheel)) for plan in plans]


def measure(_: int = 0) -> None:
    """Print the table."""
    environments, weeks = load_environments()
    small = {n: e for n, e in environments.items() if _size(e) < _HUGE}
    versions: dict[str, set[str]] = {}
    for wheel in {wheel for e in environments.values() for wheel in e}:
        versions.setdefault(wheel.name, set()).add(wheel.version)
    print(f"{len(environments)} environments, {sum(map(len, versions.values()))} releases of "
          f"{len(versions)} packages; {len(small)} environments are without CUDA.\n")  # fmt: skip
    print("| layers | median (most) | stored | of Dockerfile's | without CUDA | of Dockerfile's "
          "| sent a week | of what changed |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    _print_row("one an environment (Dockerfile)", lambda e: [frozenset(e)], environments, weeks)
    for alone_bytes, alone, buckets in _CANDIDATES:
        candidate = Candidate(alone_bytes=alone_bytes, alone=alone, buckets=buckets)
        title = f"from {alone_bytes / 2**20:g} MiB on, at most {alone}, {buckets} buckets"
        _print_row(title if alone_bytes else "every package", candidate.plan, environments, weeks)
    title = f"**envbuild: from {ALONE_BYTES / 2**20:g} MiB on, at most {ALONE}, {BUCKETS} buckets**"
    _print_row(title, plan_here, environments, weeks)


def load_environments() -> tuple[Mapping[str, Environment], Sequence[Environment]]:
    """Return the environments by name, and one of them week by week."""
    data = json.loads(DATA.read_text())
    wheels = [
        Wheel(name=name, version=version, filename=f"{name}.whl", sha256=sha256, size=size)
        for name, version, sha256, size in data["wheels"]
    ]
    found = {n: tuple(wheels[i] for i in numbers) for n, numbers in data["environments"].items()}
    weeks = [found.pop(name) for name in sorted(found) if name.startswith("week-")]
    return found, weeks


def _print_row(
    title: str,
    plan: Plan,
    environments: Mapping[str, Environment],
    weeks: Sequence[Environment],
) -> None:
    counts = [len(plan(environment)) for environment in environments.values()]
    small = [e for e in environments.values() if _size(e) < _HUGE]
    columns = []
    for group in (list(environments.values()), small):
        stored, peer = _store(plan, group), sum(map(_size, group))
        columns += [f"{stored / 1e9:.2f} GB", f"{stored / peer:.3f}"]
    sent = [_size_all(set(plan(new)) - set(plan(old))) for old, new in pairwise(weeks)]
    changed = [_size(set(new) - set(old)) for old, new in pairwise(weeks)]
    columns += [f"{sum(sent) / len(sent) / 1e6:.1f} MB", f"{sum(sent) / sum(changed):.2f}"]
    print(f"| {title} | {statistics.median(counts):g} ({max(counts)}) | {' | '.join(columns)} |")


def _store(plan: Plan, environments: Iterable[Environment]) -> int:
    """Return the bytes of all distinct layers."""
    return _size_all({layer for environment in environments for layer in plan(environment)})


def _size_all(layers: Iterable[Layer]) -> int:
    return sum(map(_size, layers))


def _size(wheels: Iterable[Wheel]) -> int:
    return sum(wheel.size for wheel in wheels)
