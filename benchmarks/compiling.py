"""How long Python's own compiler takes for an environment's wheels: what byte code can't go below.

It is the processor time of one process that compiles every source and writes out the code, by the
very Python that makes the byte code of the layers, divided by the machine's cores.
"""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from unittest.mock import patch

from benchmarks.workspace import Workspace
from envbuild.image.ensure import find_source
from envbuild.sessions.display import show_progress
from envbuild.workspace.plans import plan_named
from envbuild.workspace.workspace import Workspace as Repository

__all__ = ["print_floor"]

_COMPILE: Final = """
import gc, marshal, pathlib, sys
gc.disable()
for path in pathlib.Path(sys.argv[1]).rglob("*.py"):
    source = path.read_bytes()
    try:
        code = compile(source, str(path), "exec", dont_inherit=True, optimize=0)
    except Exception:
        continue
    marshal.dumps(code)
"""


def print_floor(space: Workspace, name: str, wheels: Iterable[Path]) -> None:
    """Print the row of the floor for the environment `name`, whose wheels are given."""
    python = _find_python(space, name)
    with tempfile.TemporaryDirectory() as folder:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
        before = _take_time()
        flags = ["-s", "-S", "-B", "-X", "utf8", "-W", "ignore"]
        subprocess.run([*python, *flags, "-c", _COMPILE, folder], check=True)
        taken = _take_time() - before
    cores = os.cpu_count() or 1
    print(
        f"| of that, Python's compiler alone: {taken:.1f} s of processor time on {cores} cores "
        f"| | {taken / cores:.2f} s | | | 1 | |",
        flush=True,
    )


def _find_python(space: Workspace, name: str) -> tuple[str, ...]:
    with patch.dict(os.environ, space.environment), show_progress() as progress:
        repository = Repository(root=space.root)
        plan = plan_named(repository, name)
        return find_source(repository.make_site(progress), plan.images[0]).find_compiler()


def _take_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
