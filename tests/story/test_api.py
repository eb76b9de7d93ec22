"""The Python API: the examples of its page run, and importing envbuild stays cheap."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import envbuild
from envbuild import Repository, api
from envbuild.engine.client import Engine
from envbuild.errors import EngineError, LockError, RegistryError, SpecError
from tests.rig.conda_channel import CondaChannel
from tests.rig.pip_index import PipIndex
from tests.rig.project import Project
from tests.rig.registry import RunningRegistry

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
SPEC = """\
platforms = ["linux-64"]
python = "3.11.*"

[image]
base = "scratch"

[conda]
channels = ["{channel}"]

[pip]
index-url = "{index}"
dependencies = [
  "httpx>=0.27",  # for the client
]
"""


@pytest.fixture
def api_project(
    project: Project, conda_channel: CondaChannel, pip_index: PipIndex,
    monkeypatch: pytest.MonkeyPatch,
) -> Project:  # fmt: skip
    """A repository with one environment, not locked, and the working directory in it."""
    pip_index.add("httpx", "0.28", "anyio>=3", extras=["http2"])
    pip_index.add("anyio", "4.0")
    text = SPEC.format(channel=conda_channel.url, index=pip_index.url)
    project.write("envs/cpu.toml", text)
    monkeypatch.delenv("ENVBUILD_REPOSITORY", raising=False)
    monkeypatch.chdir(project.root)
    return project


def test_examples_run(api_project: Project) -> None:
    options = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, optionflags=options)
    assert tried > 30
    assert failed == 0


def test_pushed_by_a_script(api_project: Project, registry: RunningRegistry) -> None:
    cpu = Repository.open().environment("cpu")
    cpu.lock()
    with pytest.raises(RegistryError) as caught:
        cpu.build(push=True)
    assert caught.value.code == "registry.not-set"
    api_project.configure(repository=f"{registry.host}/team")
    built = cpu.build(push=True)
    assert built.outcome.startswith(("pushed", "assembled"))
    assert built.plan.reference == api_project.build("cpu", "--push")["reference"]


@pytest.mark.engine
def test_loaded_by_a_script(api_project: Project, engine: Engine) -> None:
    cpu = Repository.open().environment("cpu")
    cpu.lock()
    built = cpu.build(load=True)
    image = engine.client.images.get(built.plan.reference)
    try:
        assert image.labels["envbuild.digest"] == built.plan.digest
        assert cpu.build(load=True).plan == built.plan
    finally:
        engine.client.images.remove(built.plan.reference)


def test_locked_as_of_an_earlier_day(api_project: Project, pip_index: PipIndex) -> None:
    cpu = Repository.open().environment("cpu")
    for name, version, *needs in (("httpx", "0.28", "anyio>=3"), ("anyio", "4.0")):
        pip_index.add(name, version, *needs, uploaded="2026-01-01T00:00:00Z")
    pip_index.add("anyio", "4.1", uploaded="2098-01-01T00:00:00Z")
    moved = cpu.lock(exclude_newer="2097-12-31")  # the channel is of today
    assert {c.new for c in moved if c.name == "anyio"} == {"4.0"}
    with pytest.raises(ValueError, match="day"):
        cpu.lock(exclude_newer="yesterday")


def test_errors_are_of_their_rooms(
    api_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = Repository.open().environment("cpu")
    for ask, kind, code in (
        (cpu.check, LockError, "lock.missing"),
        (cpu.build, LockError, "lock.missing"),
        (lambda: cpu.add(pip=["nosuch"]), LockError, "lock.unsatisfiable"),
        (lambda: cpu.remove("nosuch"), SpecError, "spec.not-asked"),
    ):
        with pytest.raises(kind) as caught:
            ask()
        assert caught.value.code == code
    cpu.lock()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(EngineError) as refused:
        cpu.build(load=True)
    assert refused.value.code == "engine.unreachable"
    assert cpu.find() is not None


def test_every_file_is_judged(api_project: Project) -> None:
    for name, text in {"empty": "", "syntax": "a = ", "bad": "python = 3\nx = 1\n"}.items():
        api_project.write(f"envs/{name}.toml", text)
    found = {e.name: len(e.problems()) for e in Repository.open().environments}
    assert found == {"bad": 2, "cpu": 0, "empty": 1, "syntax": 1}
    with pytest.raises(SpecError, match="did you mean `cpu`"):
        Repository.open().environment("cpo")


def test_found_from_below(api_project: Project) -> None:
    below = api_project.write("src/deep/x.py", "").parent
    assert Repository.open(below).root == api_project.root
    assert Repository.open(str(below)) == Repository.open(below)


def test_importing_envbuild_loads_nothing() -> None:
    """Nox reads a noxfile at each start, and that imports envbuild."""
    code = "import sys, envbuild; print(*(m for m in sys.modules if m.startswith('envbuild')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"envbuild", "envbuild.version"}
    assert envbuild.Repository is api.Repository
    with pytest.raises(AttributeError, match="no attribute `Depository`"):
        envbuild.Depository  # noqa: B018
    assert set(api.__all__) <= set(dir(api))


def test_no_resolver_is_loaded_for_a_check(api_project: Project) -> None:
    code = (
        "import sys\nfrom envbuild import Repository\n"
        "[e.problems() for e in Repository.open().environments]\n"
        "heavy = {'conda_lock', 'rattler', 'docker', 'urllib3', 'tomlkit', 'nox', 'rich'}\n"
        "print(*(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(envbuild.__file__).parent / "py.typed").is_file()
