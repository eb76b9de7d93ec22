"""What the stories share."""

from __future__ import annotations

import pytest

from tests.rig.conda_channel import CondaChannel
from tests.rig.disk import small_disk
from tests.rig.pip_index import PipIndex
from tests.rig.project import Project

__all__ = ["image_project", "small_disk"]

SPEC = """\
platforms = ["linux-64"]
python = "3.11.*"
[conda]
dependencies = ["numpy", "greet"]
[pip]
dependencies = ["acme"]
index-url = "{index}"
[image]
base = "{base}"
"""


@pytest.fixture
def image_project(project: Project, conda_channel: CondaChannel, pip_index: PipIndex) -> Project:
    """A repository with one locked environment from the local channel and index, on `scratch`."""
    project.configure(mirrors={k: list(v) for k, v in conda_channel.mirrors.items()})
    pip_index.add("acme", "1.0", files={"acme/__init__.py": b"WHO = 'acme'\n"})
    project.write("envs/demo.toml", SPEC.format(index=pip_index.url, base="scratch"))
    project.must("-s", "lock", "--", "demo")
    return project
