"""`python -m benchmarks [noop] [cold] [change] [packing] [--rounds N]`: prints the tables of
docs/performance.md.

Run it with the Python that envbuild is installed in. `cold` and `change` need a Docker Engine
(DOCKER_HOST), `change` also Debian's docker-registry; all need a Python package index and a
Debian archive.
"""

from __future__ import annotations

import argparse

from benchmarks import change, cold, noop, packing

_ALL = {"noop": noop.measure, "cold": cold.measure, "change": change.measure}


def main() -> None:
    """Run the benchmarks that were named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*_ALL, "packing", []], help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    names = arguments.names or [*_ALL, "packing"]
    if "packing" in names:
        packing.measure()
        names.remove("packing")
    if not names:
        return
    print("| work (against) | envbuild | peer | ratio (range) | wanted | rounds | peak memory |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        _ALL[name](arguments.rounds)


main()
