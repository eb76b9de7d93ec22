"""A conda and pip environment, from its spec to a served model, and a second time for nothing."""

from __future__ import annotations

import json

import pytest

from envbuild.engine.client import Engine
from tests.rig.conda_channel import CondaChannel
from tests.rig.pip_index import PipIndex
from tests.rig.project import Project
from tests.rig.registry import RunningRegistry

SPEC = """\
platforms = ["linux-64", "linux-aarch64"]
python = "3.11.*"

[conda]
channels = ["conda-forge"]
dependencies = ["numpy", "greet 1.*"]

[system]
packages = ["libssl3", "libsqlite3-0", "libffi8", "libbz2-1.0", "liblzma5", "libreadline8"]

[image]
base = "debian:bookworm"
labels = { team = "vision" }

[env]
GREETING = "hello from the spec"

[train]
script = "train.py"
source = "src"
arguments = ["--scale", "2"]
outputs = ["outputs"]
resources = { cpus = 1, memory = "512m" }

[smoke]
command = ["python", "serve.py"]
port = 8000
source = "src"
models = ["outputs/model.npy"]
resources = { memory = "256m" }
ready-timeout = "60s"

[[smoke.request]]
path = "/sum"
method = "POST"
json = [1, 2, 3]
expect = { status = 200, json = 12.0, tolerance = 1e-6 }
"""

TRAIN = """\
import argparse, os, sys
from pathlib import Path
import numpy
import greet
parser = argparse.ArgumentParser()
parser.add_argument("--scale", type=float)
parser.add_argument("--fail", type=int, default=0)
arguments = parser.parse_args()
print(os.environ["GREETING"], numpy.__version__, sys.prefix, flush=True)
Path("outputs").mkdir()
numpy.save("outputs/model.npy", numpy.full(3, arguments.scale))
sys.exit(arguments.fail)
"""

SERVE = """\
import json, os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
import numpy
model = numpy.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.npy"))
class Handler(BaseHTTPRequestHandler):
    def answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self):
        self.answer(200, "ok")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self.answer(200, float(numpy.dot(model, json.loads(body))))
        except ValueError as error:
            self.answer(400, str(error))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
HTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
"""


@pytest.fixture
def conda_project(
    project: Project, conda_channel: CondaChannel, registry: RunningRegistry
) -> Project:
    """The repository of this story, its channel and registry on loopback."""
    project.configure(
        repository=f"{registry.host}/story",
        mirrors={k: list(v) for k, v in conda_channel.mirrors.items()},
    )
    project.write("envs/story.toml", SPEC)
    project.write("src/train.py", TRAIN)
    project.write("src/serve.py", SERVE)
    return project


@pytest.mark.engine
@pytest.mark.registry
@pytest.mark.network
def test_from_spec_to_served_model_and_nothing_the_second_time(
    conda_project: Project, engine: Engine
) -> None:
    story = conda_project
    locked = story.must("-s", "lock", "--", "story")
    assert "greet (conda)" in locked.stdout
    before = story.snapshot()
    assert "up to date" in story.must("-s", "lock", "check", "--", "story").text
    assert story.snapshot() == before, "an idle lock touched a file"

    built = story.build("story", "--push")
    assert "pushed" in built["outcome"]
    again = story.build("story", "--push")
    assert again["outcome"] == "registry has it"
    assert again["manifest"] == built["manifest"]

    trained = story.must("-s", "train", "--", "story")
    assert "hello from the spec" in trained.stdout
    assert "/opt/env" in trained.stdout
    (record,) = story.root.glob(".envbuild/runs/*/record.json")
    facts = json.loads(record.read_text())
    assert (facts["status"], facts["exit_code"]) == ("completed", 0)
    index = json.loads((story.cache / "store/blobs/sha256" / built["manifest"][7:]).read_bytes())
    assert facts["manifest_digest"] in {child["digest"] for child in index["manifests"]}
    assert (record.parent / "outputs/model.npy").is_file()

    tested = story.must("-s", "smoke", "--", "story")
    assert "POST /sum" in tested.stdout
    assert "FAILED" not in tested.stdout
    containers = engine.client.containers.list(
        all=True, filters={"label": "envbuild.environment=story"}
    )
    assert containers == [], "a container was left behind"

    assert "nothing to do" in story.must("-s", "train", "--", "story", "--reuse").stdout
    assert "nothing to do" in story.must("-s", "smoke", "--", "story", "--reuse").stdout


@pytest.mark.engine
@pytest.mark.registry
@pytest.mark.network
def test_exit_code_of_nox_is_the_scripts(conda_project: Project, engine: Engine) -> None:
    conda_project.must("-s", "lock", "--", "story")
    failed = conda_project.nox("-s", "train", "--", "story", "--fail", "7")
    assert failed.code == 7, failed.text
    assert "Traceback" not in failed.text
    (record,) = conda_project.root.glob(".envbuild/runs/*/record.json")
    facts = json.loads(record.read_text())
    assert (facts["status"], facts["exit_code"]) == ("failed", 7)
    assert (record.parent / "outputs/model.npy").is_file(), "outputs of a failed run are kept too"


@pytest.mark.network
def test_same_locks_run_without_an_engine(conda_project: Project) -> None:
    conda_project.variables["DOCKER_HOST"] = "unix:///nowhere/docker.sock"
    conda_project.must("-s", "lock", "--", "story")
    refused = conda_project.refused("engine.unreachable", "-s", "train", "--", "story")
    assert "--target local" in refused
    trained = conda_project.must("-s", "train", "--", "story", "--target", "local")
    assert "hello from the spec" in trained.stdout
    assert str(conda_project.cache) in trained.stdout, "it ran in a prefix of this machine"


@pytest.mark.network
def test_wheels_on_top_of_conda(conda_project: Project, pip_index: PipIndex) -> None:
    """pip's packages see conda's as given: those bind, and are not installed a second time."""
    pip_index.add("numpy", "99.0")
    pip_index.add("acme", "1.0", "numpy", "helper>=2")
    pip_index.add("helper", "2.1")
    table = f'[pip]\ndependencies = ["acme"]\nindex-url = "{pip_index.url}"\n\n[system]'
    conda_project.write("envs/story.toml", SPEC.replace("[system]", table))
    conda_project.must("-s", "lock", "--", "story")
    requirements = (conda_project.root / "lockfiles/story/requirements.linux-64.txt").read_text()
    assert "acme==1.0" in requirements
    assert "helper==2.1" in requirements
    assert "numpy==" not in requirements
    conda_project.must("-s", "build-env", "--", "story")
