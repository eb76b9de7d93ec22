"""Locks conda and pip packages for three platforms, beside conda-lock with its own pip solver.

Channel and index are the tests' own. conda-lock calls our front to py-rattler's solver as its
conda, as ours does: there is no other conda here. Its pip solver asks the index that
`pip-repositories` names; it gets an empty table of names, which it would fetch from GitHub.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import Sample, pair, print_rows, run, say
from benchmarks.workspace import Workspace, open_workspace
from envbuild.lock.conda_client import child_command, mirror_environment
from tests.rig.conda_channel import CondaChannel, index_channel, open_channel
from tests.rig.conda_contents import write_channel
from tests.rig.pip_index import PipIndex

__all__ = ["measure_three"]

_PLATFORMS = ("linux-64", "linux-aarch64", "osx-arm64")
_CONDA = (("numpy", "greet"), ("numpy", "greet >=1"))
_PIP = (("top", "leaf-0<5"), ("top", "leaf-0<6"))
"""Requests that differ, and are met by the same releases: each has to be resolved anew."""
_LEAVES = 20

_SPEC = """\
platforms = {platforms}
python = "3.11.*"
[conda]
dependencies = {conda}
[pip]
dependencies = {pip}
index-url = "{index}"
resolver = "{resolver}"
[image]
base = "scratch"
"""
_ENVIRONMENT = """\
channels: [conda-forge]
platforms: {platforms}
dependencies: {conda}
pip-repositories: ["{index}"]
"""


def measure_three(rounds: int) -> None:
    """Print the rows; all caches are warm on both sides."""
    with tempfile.TemporaryDirectory(prefix="envbuild-channel-") as folder:
        source = Path(folder) / "source"
        (Path(folder) / "work").mkdir()
        say("making a channel")
        write_channel(source, Path(folder) / "work")
        index_channel(source)
        with (
            open_channel(source, Path(folder) / "channel") as channel,
            PipIndex() as index,
            open_workspace() as space,
        ):
            for number in range(_LEAVES):
                index.add(f"leaf-{number}", "1.0")
            index.add("top", "1.0", *(f"leaf-{number}" for number in range(_LEAVES)))
            items = ", ".join(f"{json.dumps(k)} = {list(v)}" for k, v in channel.mirrors.items())
            settings = f"[tool.envbuild]\nmirrors = {{ {items} }}\n"
            (space.root / "pyproject.toml").write_text(settings)
            (space.root / "envs").mkdir()
            for resolver in ("pip-tools", "uv"):
                _measure(space, channel, index, resolver, rounds)


def _measure(
    space: Workspace, channel: CondaChannel, index: PipIndex, resolver: str, rounds: int
) -> None:
    def ours(number: int) -> Sample:
        text = _SPEC.format(
            platforms=list(_PLATFORMS), conda=json.dumps(_CONDA[number % 2]), index=index.url,
            pip=json.dumps(_PIP[number % 2]), resolver=resolver,
        )  # fmt: skip
        (space.root / "envs/three.toml").write_text(text)
        return space.nox("-s", "lock", "--", "three")

    def theirs(number: int) -> Sample:
        conda = ["python 3.11.*", "pip", *_CONDA[number % 2], {"pip": _PIP[number % 2]}]
        text = _ENVIRONMENT.format(
            platforms=json.dumps(_PLATFORMS), conda=json.dumps(conda), index=index.url
        )
        (space.root / "environment.yml").write_text(text)
        return _run_conda_lock(space, channel)

    for number in (1, 0, 1):
        ours(number)
    theirs(1)
    left, right = pair(ours, theirs, rounds=rounds)
    title = f"lock of conda and pip, three platforms, with {resolver} (conda-lock)"
    print_rows(title, left, right, "at most 1" if resolver == "pip-tools" else "at most 1/5")


def _run_conda_lock(space: Workspace, channel: CondaChannel) -> Sample:
    front = space.root / "conda-front"
    front.write_text(
        f'#!/bin/sh\nexec {shlex.join(child_command("envbuild.lock.conda_front"))} "$@"\n'
    )
    front.chmod(0o755)
    names = space.root / "names.json"
    names.write_text("{}")
    lockfile = space.root / "conda-lock.yml"
    lockfile.unlink(missing_ok=True)
    program = str(Path(sys.executable).with_name("conda-lock"))
    command = [program, "lock", "--kind=lock", f"--conda={front}", "--file=environment.yml"]
    command += [f"--lockfile={lockfile}", f"--pypi_to_conda_lookup_file={names.as_uri()}"]
    environment = {**os.environ, **space.environment, **mirror_environment(channel.mirrors)}
    return run(command, cwd=space.root, env=environment, log=space.root / "conda-lock.log")
