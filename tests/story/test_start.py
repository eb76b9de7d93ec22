"""From an empty folder to a trained model and a tested service, by the printed commands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envbuild.engine.client import Engine
from envbuild.kit.places import Cache
from tests.rig.conda_channel import CondaChannel
from tests.rig.image import PYTHON, LoadedImage
from tests.rig.project import Outcome, Project


@pytest.fixture
def empty(tmp_path: Path, cache: Cache) -> Project:
    """A folder with nothing in it."""
    root = tmp_path / "new"
    root.mkdir()
    return Project(root=root, cache=cache.root)


def init(project: Project, *words: str) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", "envbuild", "init", *words], cwd=project.root,
        env=project.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    outcome = Outcome(code=done.returncode, stdout=done.stdout, stderr=done.stderr)
    assert outcome.code == 0, outcome.text
    return outcome


def find_outputs(project: Project, file: str) -> list[Path]:
    return list(project.root.glob(f".envbuild/runs/*/outputs/{file}"))


@pytest.mark.network
@pytest.mark.engine
def test_commands_that_init_prints_do_what_they_say(empty: Project, engine: Engine) -> None:
    printed = re.findall(r"^    nox (.+)$", init(empty).stdout, re.MULTILINE)
    assert len(printed) == 4
    for command in printed:
        empty.must(*command.split())
    models = find_outputs(empty, "model.json")
    assert len(models) == 2, "one of this machine, one of the container"
    here, there = (json.loads(model.read_text()) for model in models)
    assert here["slope"] == pytest.approx(there["slope"], abs=1e-9)
    assert here["slope"] == pytest.approx(2, abs=0.1)


@pytest.mark.network
@pytest.mark.engine
def test_serve_trains_and_passes_its_smoke_test(empty: Project, engine: Engine) -> None:
    init(empty, "line", "--from", "serve")
    outcome = empty.must("-s", "lock", "check", "train", "smoke", "--", "line")
    assert "FAILED" not in outcome.text
    assert find_outputs(empty, "model.json")


@pytest.mark.network
@pytest.mark.parametrize("kind", ["train", "envbuild-scientific"])
def test_train_trains_a_model_that_is_good(empty: Project, kind: str) -> None:
    init(empty, "digits", "--from", kind)
    empty.must("-s", "lock", "check", "--", "digits")
    empty.must("-s", "train", "--", "digits", "--target", "local", "--trees", "20")
    (metrics,) = find_outputs(empty, "metrics.json")
    assert json.loads(metrics.read_text())["accuracy"] > 0.9


@pytest.mark.network
def test_gpu_locks_where_there_is_none(empty: Project) -> None:
    init(empty, "net", "--from", "gpu")
    locked = empty.must("-s", "lock", "check", "--", "net").stdout
    assert "1 lockfile is up to date" in locked


@pytest.mark.network
def test_conda_trains_with_condas_python(empty: Project, conda_channel: CondaChannel) -> None:
    empty.configure(mirrors={k: list(v) for k, v in conda_channel.mirrors.items()})
    init(empty, "line", "--from", "conda")
    empty.must("-s", "lock", "check", "--", "line")
    empty.must("-s", "train", "--", "line", "--target", "local")
    assert find_outputs(empty, "model.json")


@pytest.mark.network
@pytest.mark.engine
def test_dockerfile_locks_on_the_base_that_it_builds(
    empty: Project, engine: Engine, python_image: LoadedImage
) -> None:
    """The base of the tests stands in for the one of Docker's registry."""
    init(empty, "line", "--from", "dockerfile")
    dockerfile = empty.root / "src/line/Dockerfile"
    (library,) = Path("/usr/lib").glob("*-linux-gnu/libstdc++.so.6")
    for name in ("libgcc_s.so.1", "libpthread.so.0", library.name):  # numpy needs them
        shutil.copy(library.with_name(name), dockerfile.with_name(name))
    text = re.sub("(?m)^FROM .*$", f"FROM {python_image.name}", dockerfile.read_text())
    dockerfile.write_text(f"{text}COPY lib*.so.* {library.parent}/\n")
    spec = empty.root / "envs/line.toml"
    spec.write_text(spec.read_text().replace("/usr/local/bin/python3.11", PYTHON))
    empty.must("-s", "lock", "check", "train", "--", "line")
    assert find_outputs(empty, "model.json")
