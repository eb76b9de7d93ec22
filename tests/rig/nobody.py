"""Work as a user to whom files can be closed: the tests themselves mostly run as root."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envbuild.errors import EnvbuildError
from tests.rig.need import missing

__all__ = ["as_nobody", "open_folder"]

NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder of `nobody`; those of `tmp_path` are in folders that are closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="envbuild-open-"))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


def as_nobody(work: Callable[[], Any]) -> Any:
    """Return what `work` returns, or the error that it raises, in a process of `nobody`."""
    if os.geteuid() != 0:
        missing("root", "it is needed to become another user")
    there, here = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(here, pickle.dumps(_try(work)))
        finally:  # whatever it was, this process must not go on as a test
            os._exit(0)
    os.close(here)
    with os.fdopen(there, "rb") as file:
        data = file.read()
    os.waitpid(child, 0)
    return pickle.loads(data)


def _try(work: Callable[[], Any]) -> Any:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    os.environ["HOME"] = "/nonexistent"
    try:
        return work()
    except (EnvbuildError, OSError, subprocess.SubprocessError) as error:
        return error
