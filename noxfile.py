"""envbuild's own repository uses envbuild: `nox --list` shows the sessions."""

from pathlib import Path

import envbuild

envbuild.register(Path(__file__).parent)
