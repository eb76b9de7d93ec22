"""Runs commands, times them, and prints ratios."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.memory import watch_memory

__all__ = ["Sample", "pair", "print_rows", "run", "say"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One run of one command: seconds on the clock, and the peak memory of all its processes."""

    seconds: float
    peak_mb: float

    def and_then(self, other: Sample) -> Sample:
        """Return both, one after the other."""
        peak = max(self.peak_mb, other.peak_mb)
        return Sample(seconds=self.seconds + other.seconds, peak_mb=peak)


def say(text: str) -> None:
    """Tell whoever waits what is being done."""
    print(f"# {text}", file=sys.stderr, flush=True)


def run(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> Sample:
    """Run a command to its end; a failure ends the benchmark with its output."""
    start = time.perf_counter()
    with log.open("wb") as output:
        child = subprocess.Popen(argv, cwd=cwd, env=dict(env), stdout=output, stderr=output)
        with watch_memory(child.pid) as memory:
            child.wait()
    seconds = time.perf_counter() - start
    if child.returncode:
        raise SystemExit(f"{' '.join(argv)} failed:\n{log.read_text(errors='replace')[-4000:]}")
    return Sample(seconds=seconds, peak_mb=memory.peak_mb)


def pair(
    ours: Callable[[int], Sample], theirs: Callable[[int], Sample], *, rounds: int
) -> tuple[list[Sample], list[Sample]]:
    """Take turns, so that a machine whose speed drifts treats both alike."""
    left, right = [], []
    for number in range(rounds):
        left.append(ours(number))
        right.append(theirs(number))
        say(f"round {number + 1}: {left[-1].seconds:.2f} s against {right[-1].seconds:.2f} s")
    return left, right


def print_rows(title: str, left: Sequence[Sample], right: Sequence[Sample], goal: str) -> None:
    """Print one row of the table in docs/performance.md."""
    ours = statistics.median(s.seconds for s in left)
    theirs = statistics.median(s.seconds for s in right)
    ratios = sorted(a.seconds / b.seconds for a, b in zip(left, right, strict=True))
    ratio = statistics.median(ratios)
    factor = f"{ratio:.2f}" if ratio >= 0.1 else f"1/{1 / ratio:.0f}"
    spread = f"{ratios[0]:.3f}-{ratios[-1]:.3f}"
    print(
        f"| {title} | {ours:.2f} s | {theirs:.2f} s | {factor} ({spread}) | {goal} | "
        f"{len(left)} | {max(s.peak_mb for s in left):.0f} MB |",
        flush=True,
    )
