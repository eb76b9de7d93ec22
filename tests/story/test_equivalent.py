"""The Dockerfile that `build-env --dockerfile` prints can be built, and has the locked packages."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from envbuild.engine.builder import find_builder
from envbuild.engine.client import Engine
from tests.rig.pip_index import PipIndex
from tests.rig.project import Project
from tests.rig.registry import RunningRegistry

BASE = """\
python = "3.11.*"
[image]
base = "debian:bookworm"
[system]
packages = ["python3.11-venv"]
"""

SPEC = """\
python = "3.11.*"
[pip]
dependencies = ["acme", "tool"]
index-url = "{index}"
[image]
base = "{base}"
interpreter = "/usr/bin/python3.11"
user = "nonroot"
labels = {{ team = "é 'b' \\"c\\" $d \\\\ e" }}
"""

TELL = """\
import json, os, sys
from importlib.metadata import distributions
found = {d.name: d.version for d in distributions()}
wanted = {n: found.get(n) for n in ("acme", "tool")}
print(json.dumps([wanted, sys.prefix, os.getuid(), os.getcwd()]))
"""


@pytest.mark.registry
@pytest.mark.engine
@pytest.mark.network
def test_printed_dockerfile_gives_the_same_packages(
    project: Project, registry: RunningRegistry, engine: Engine, pip_index: PipIndex,
    tmp_path: Path,
) -> None:  # fmt: skip
    pip_index.add("acme", "1.0", files={"acme.py": b"x = 1\n"})
    pip_index.add("tool", "2.0", files={"tool.py": b"x = 2\n"})
    project.variables["ENVBUILD_REPOSITORY"] = f"{registry.host}/equivalent"
    project.write("envs/base.toml", BASE)
    project.must("-s", "lock", "--", "base")
    base = project.build("base", "--push")
    spec = SPEC.format(index=pip_index.url, base=base["reference"])
    project.write("envs/upper.toml", spec)
    project.must("-s", "lock", "--", "upper")
    pip_index.add("acme", "1.1", files={"acme.py": b"x = 3\n"})
    text = project.must("-s", "build-env", "--", "upper", "--dockerfile").stdout
    theirs = _build(project, engine, text, pip_index.url)
    ours = project.build("upper", "--load")["reference"]
    try:
        said = [_run(engine, image) for image in (ours, theirs)]
        assert said[0] == said[1]
        assert json.loads(said[0])[0] == {"acme": "1.0", "tool": "2.0"}
        labels = [engine.client.images.get(image).labels["team"] for image in (ours, theirs)]
        assert labels == ["é 'b' \"c\" $d \\ e"] * 2
    finally:
        engine.client.images.remove(theirs, force=True)
        engine.client.images.remove(ours, force=True)


def _build(project: Project, engine: Engine, text: str, index: str) -> str:
    """Build as the second line of the text says; the index is this test's own, on loopback."""
    lines = text.splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if line.startswith("FROM ")) + 1
    lines.insert(place, f"ENV PIP_INDEX_URL={index}\n")
    file = project.write("printed.Dockerfile", "".join(lines))
    builder = find_builder()
    subprocess.run(
        [*builder.command, "--network", "host", "-t", "printed:1", "-f", str(file), "."],
        cwd=project.root, check=True, stdin=subprocess.DEVNULL,
        env=project.environment | dict(builder.environment) | {"DOCKER_HOST": engine.address},
    )  # fmt: skip
    return "printed:1"


def _run(engine: Engine, image: str) -> str:
    output: bytes = engine.client.containers.run(image, ["python", "-c", TELL], remove=True)
    return output.decode()
