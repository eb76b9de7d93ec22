"""Promises about images: the same everywhere, built once, whole or not there at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from envbuild.engine.client import Engine
from tests.rig.pip_index import PipIndex
from tests.rig.project import Project
from tests.rig.registry import RunningRegistry


def test_two_empty_caches_give_the_same_image(image_project: Project, tmp_path: Path) -> None:
    first = image_project.build("demo")
    other = image_project.copy(
        tmp_path, TZ="Asia/Kathmandu", PYTHONHASHSEED="7", LC_ALL="C", LANG="C"
    )
    before = os.umask(0o077)
    try:
        second = other.build("demo")
    finally:
        os.umask(before)
    assert second["manifest"] == first["manifest"]
    assert second["digest"] == first["digest"]


def test_nothing_to_do_the_second_time(image_project: Project) -> None:
    image_project.build("demo")
    store = {p: p.stat().st_mtime_ns for p in image_project.cache.rglob("*") if p.is_file()}
    assert image_project.build("demo")["outcome"] == "up to date"
    after = {p: p.stat().st_mtime_ns for p in image_project.cache.rglob("*") if p.is_file()}
    locks = {p for p in store if p.suffix == ".lock"}
    assert {p: t for p, t in after.items() if p not in locks} == {
        p: t for p, t in store.items() if p not in locks
    }


@pytest.mark.parametrize("blob", ["manifest", "config", "layer"])
@pytest.mark.parametrize("cut", [0, 100])
def test_what_lost_power_cut_short_is_made_again(
    image_project: Project, blob: str, cut: int
) -> None:
    built = image_project.build("demo")
    blobs = image_project.cache / "store/blobs/sha256"
    manifest = json.loads((blobs / built["manifest"][7:]).read_bytes())
    digest = {
        "manifest": built["manifest"],
        "config": manifest["config"]["digest"],
        "layer": manifest["layers"][-1]["digest"],
    }[blob]
    path = blobs / digest[7:]
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    again = image_project.build("demo")
    assert again["manifest"] == built["manifest"]
    assert again["outcome"].startswith("assembled")
    assert path.read_bytes() == whole


def test_idle_sessions_import_no_resolver_and_no_engine(image_project: Project) -> None:
    image_project.build("demo")
    image_project.variables["PYTHONPROFILEIMPORTTIME"] = "1"
    outcome = image_project.must("-s", "lock", "check", "build-env")
    imported = {line.rpartition("|")[2].strip() for line in outcome.stderr.splitlines()}
    assert "envbuild.sessions.many" in imported
    heavy = {"conda_lock", "piptools", "rattler", "docker", "urllib3", "rich", "yaml", "tomlkit"}
    assert imported & heavy == set()


def test_a_comment_or_a_variable_moves_no_tag_but_a_label_does(image_project: Project) -> None:
    spec = (image_project.root / "envs/demo.toml").read_text()
    before = image_project.build("demo")["reference"]
    image_project.write("envs/demo.toml", "# words\n" + spec + '[env]\nA = "b"\n')
    assert image_project.build("demo")["reference"] == before
    image_project.write("envs/demo.toml", spec + 'labels = { team = "b" }\n')
    assert image_project.build("demo")["reference"] != before


def test_two_builds_at_once_make_one_image(image_project: Project) -> None:
    command = image_project.command("-s", "build-env", "--", "demo", "--json")
    runs = [
        subprocess.Popen(
            command, cwd=image_project.root, env=image_project.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    outputs = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    built = [json.loads(out[out.index("[") :])[0] for out, _ in outputs]
    assert built[0]["manifest"] == built[1]["manifest"]
    outcomes = sorted(str(b["outcome"]).partition(" ")[0] for b in built)
    assert outcomes in (["assembled"] * 2, ["assembled", "up"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_build_leaves_nothing_that_counts(
    image_project: Project, tmp_path: Path, number: signal.Signals
) -> None:
    wanted = image_project.build("demo")["manifest"]
    for attempt in range(5):  # on an idle machine a build can be over before it is killed
        other = image_project.copy(tmp_path / str(attempt))
        code, said = _kill_at_first_blob(other, number)
        if code != 0:
            break
    assert code != 0, "each build was over before it could be killed"
    assert b"Traceback" not in said or number == signal.SIGKILL, said.decode()
    for blob in other.cache.glob("store/blobs/sha256/*"):
        if not blob.name.startswith("."):
            done = subprocess.run(["sha256sum", blob], capture_output=True, text=True, check=True)
            assert done.stdout.split()[0] == blob.name
    assert other.build("demo")["manifest"] == wanted


def _kill_at_first_blob(project: Project, number: signal.Signals) -> tuple[int, bytes]:
    """Begin a build and send it the signal once something is in the store."""
    run = subprocess.Popen(
        project.command("-s", "build-env", "--", "demo"), cwd=project.root,
        env=project.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(project.cache.glob("store/blobs/sha256/*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(run.pid, number)
    _, said = run.communicate(timeout=60)
    return run.returncode, said


@pytest.mark.registry
def test_registry_that_is_down_is_no_answer(image_project: Project) -> None:
    image_project.variables["ENVBUILD_REPOSITORY"] = "127.0.0.1:9/nobody"
    image_project.refused("registry.unreachable", "-s", "build-env", "--", "demo", "--push")


@pytest.mark.registry
def test_one_changed_package_pushes_its_layer_only(
    image_project: Project, registry: RunningRegistry, pip_index: PipIndex
) -> None:
    image_project.variables["ENVBUILD_REPOSITORY"] = f"{registry.host}/changes"
    first = image_project.build("demo", "--push")["outcome"]
    pip_index.add("acme", "1.1", files={"acme/__init__.py": b"WHO = 'acme 1.1'\n"})
    image_project.must("-s", "lock", "--", "demo", "--upgrade-package", "acme")
    second = image_project.build("demo", "--push")["outcome"]
    # the changed layer, the configuration, and small blobs, which are sent without a question
    assert "(1 of" in second, (first, second)
    assert ", 0.0 MB" in second, (first, second)


@pytest.mark.registry
@pytest.mark.engine
@pytest.mark.network
def test_registry_image_as_base(
    image_project: Project, registry: RunningRegistry, engine: Engine
) -> None:
    """An image that we push is the base of another, by digest; its own Python runs there."""
    image_project.variables["ENVBUILD_REPOSITORY"] = f"{registry.host}/bases"
    image_project.write(
        "envs/base.toml", 'platforms = ["linux-64"]\npython = "3.11.*"\n[image]\n'
        'base = "debian:bookworm"\nlabels = { origin = "base" }\n',
    )  # fmt: skip
    image_project.must("-s", "lock", "--", "base")
    base = image_project.build("base", "--push")
    spec = (image_project.root / "envs/demo.toml").read_text()
    index = spec.partition('index-url = "')[2].partition('"')[0]
    image_project.write(
        "envs/upper.toml",
        f'platforms = ["linux-64"]\npython = "3.11.*"\n[pip]\ndependencies = ["acme"]\n'
        f'index-url = "{index}"\n[image]\nbase = "{base["reference"]}"\n'
        'interpreter = "/usr/bin/python3.11"\n[train]\nscript = "train.py"\nsource = "src"\n',
    )
    image_project.write("src/train.py", "import acme, sys\nprint(acme.WHO, sys.prefix)\n")
    image_project.must("-s", "lock", "--", "upper")
    lock = (image_project.root / "lockfiles/upper/envbuild.lock").read_text()
    assert base["manifest"] in lock
    trained = image_project.must("-s", "train", "--", "upper")
    assert "acme /opt/env" in trained.stdout
