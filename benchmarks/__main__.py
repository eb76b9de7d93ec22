"""`python -m benchmarks [NAME ...] [--rounds N]`: prints the tables of docs/performance.md.

Run it with the Python that envbuild is installed in. `noop`, `cold`, `change` and `imports` need a
Docker Engine (DOCKER_HOST), `noop`, `change` and `known` Debian's docker-registry; all but
`packing` and `conda` need a Python package index, and most a Debian archive.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks import change, cold, conda, imports, known, layers, local, locks, noop, packing

_ALL: dict[str, Callable[[int], None]] = {
    "locks": locks.measure,
    "noop": noop.measure,
    "cold": cold.measure,
    "change": change.measure,
    "known": known.measure,
    "platforms": cold.measure_platforms,
    "imports": imports.measure,
    "conda": conda.measure,
    "local": local.measure,
    "hook": local.measure_hook,
}
_OWN: dict[str, Callable[[int], None]] = {"packing": packing.measure, "layers": layers.measure}
"""These print tables of their own."""


def main() -> None:
    """Run the benchmarks that were named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*_ALL, *_OWN, []], help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    names = arguments.names or [*_ALL, *_OWN]
    for name in [name for name in names if name in _OWN]:
        _OWN[name](arguments.rounds)
        names.remove(name)
    if not names:
        return
    print("| work (against) | envbuild | peer | ratio (range) | wanted | rounds | peak memory |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        _ALL[name](arguments.rounds)


main()
