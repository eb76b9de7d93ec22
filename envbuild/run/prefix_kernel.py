"""A Jupyter kernel in an environment's folder: what a kernelspec starts, and then is the kernel.

Run as `python -m envbuild.run.prefix_kernel OPTIONS CONNECTION_FILE`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from envbuild.errors import EnvbuildError, RunError
from envbuild.run.variables import make_prefix_environment, read_variables

__all__ = ["main"]


def main(words: Sequence[str] | None = None) -> int:
    """Become the kernel; return only with the exit code of what is wrong."""
    arguments = _parse(words)
    try:
        _become(arguments)
    except EnvbuildError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
    return 1


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m envbuild.run.prefix_kernel", allow_abbrev=False
    )
    parser.add_argument("--prefix", required=True, type=Path)
    parser.add_argument("--environment", required=True)
    parser.add_argument("--env", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("connection")
    return parser.parse_args(words)


def _become(arguments: argparse.Namespace) -> None:
    # By the link's own path, for that is the one that people know.
    python = str(arguments.prefix / "bin" / "python")
    variables = make_prefix_environment(arguments.prefix, read_variables(arguments.env))
    try:
        # The kernel takes this process's place, and so gets the client's signals.
        os.execve(
            python, [python, "-m", "ipykernel_launcher", "-f", arguments.connection], variables
        )
    except OSError as error:
        raise RunError(
            "prefix.missing",
            f"there is no environment at `{arguments.prefix}`",
            hint=f"run `nox -s local-env -- {arguments.environment}`",
        ) from error


if __name__ == "__main__":
    sys.exit(main())
