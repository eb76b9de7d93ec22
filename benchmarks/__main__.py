"""`python -m benchmarks [noop] [cold] [change] [--rounds N]`: prints docs/performance.md's table.

Run it with the Python that envbuild is installed in. `cold` and `change` need a Docker Engine
(DOCKER_HOST), `change` also Debian's docker-registry; all need a Python package index and a
Debian archive.
"""

from __future__ import annotations

import argparse

from benchmarks import change, cold, noop

_ALL = {"noop": noop.measure, "cold": cold.measure, "change": change.measure}


def main() -> None:
    """Run the benchmarks that were named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*_ALL, []], help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print("| work (against) | envbuild | peer | ratio (range) | wanted | rounds | peak memory |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.names or _ALL:
        _ALL[name](arguments.rounds)


main()
