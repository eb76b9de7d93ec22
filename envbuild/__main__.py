"""`python -m envbuild SESSION ARGUMENTS`: the sessions without Nox."""

from __future__ import annotations

import sys

from envbuild.sessions.command import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
