"""From a spec with everything that no index has to an image, the same on two machines."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from envbuild.oci.store import Store
from tests.rig.conda_channel import CondaChannel
from tests.rig.pip_index import PipIndex, make_wheel
from tests.rig.project import Project
from tests.rig.sources import commit_all, make_repository, project_files, run_git, write_files

SPEC = """\
platforms = ["linux-64"]
python = "3.11.*"

[conda]
dependencies = ["greet"]

[pip]
index-url = "{index}"
dependencies = [
  "./wheels/boxed-1.0-py3-none-any.whl",
  "packed",
  "cloned @ git+file://{repository}@main",
]
build-from-source = ["packed", "cloned"]
local = ["src/acme"]

[image]
base = "scratch"
"""


@pytest.fixture
def sources(
    project: Project, conda_channel: CondaChannel, pip_index: PipIndex, tmp_path: Path
) -> Project:
    """A repository with a wheel and a source tree, a git repository, and an index."""
    project.configure(mirrors={k: list(v) for k, v in conda_channel.mirrors.items()})
    pip_index.add("kit", "1.0")
    pip_index.add("lib", "1.0")
    pip_index.add_sdist("packed", "1.0", project_files("packed", requires=["lib"], build=["kit"]))
    make_repository(tmp_path / "cloned", project_files("cloned", build=["kit"]))
    wheel = project.root / "wheels" / "boxed-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(make_wheel("boxed", "1.0")[0])
    write_files(project.root / "src/acme", project_files("acme", requires=["packed"]))
    project.write("envs/cpu.toml", SPEC.format(index=pip_index.url, repository=tmp_path / "cloned"))
    project.must("-s", "lock")
    return project


def _contents(cache: Path, manifest: str, suffix: str) -> list[str]:
    """Return the paths in the image's layers, topmost layer last, that end in `suffix`."""
    store = Store(cache / "store")
    found: list[str] = []
    data = json.loads(store.read(manifest))
    if "manifests" in data:
        data = json.loads(store.read(data["manifests"][0]["digest"]))
    for layer in data["layers"]:
        with tarfile.open(store.path(layer["digest"])) as tar:
            found += [name for name in tar.getnames() if name.endswith(suffix)]
    return found


def _matrix(project: Project) -> list[dict[str, str]]:
    """Return the jobs of CI for what changed since the last commit."""
    text = project.must("-s", "ci-matrix", "--", "--since", "HEAD").stdout
    rows: list[dict[str, str]] = json.loads(text)["include"]
    return rows


def test_two_machines_build_the_same_image(
    sources: Project, pip_index: PipIndex, tmp_path: Path
) -> None:
    first = sources.build("cpu")
    # Published since the lock was made: a build must not see it.
    pip_index.add("kit", "2.0")
    commit_all(write_files(tmp_path / "cloned", project_files("cloned", "2.0")), "second")
    other = sources.copy(tmp_path, TZ="Asia/Kathmandu", PYTHONHASHSEED="7")
    second = other.build("cpu")
    assert second["manifest"] == first["manifest"]
    assert second["reference"] == first["reference"]
    modules = {
        name.split("/")[-2] for name in _contents(other.cache, second["manifest"], "/__init__.py")
    }
    assert {"acme", "packed", "cloned"} <= modules
    assert _contents(other.cache, second["manifest"], "/boxed.py")


def test_an_edit_of_a_tree_changes_the_image_and_not_the_lock(sources: Project) -> None:
    first = sources.build("cpu")
    run_git(sources.root, "init", "-q")
    commit_all(sources.root, "first")
    assert _matrix(sources) == []
    before = sources.snapshot()
    sources.write("src/acme/src/acme/new.py", "X = 1\n")
    sources.must("-s", "check")
    assert "up to date" in sources.must("-s", "lock").text
    second = sources.build("cpu")
    assert second["reference"] != first["reference"]
    assert sources.snapshot() == before
    assert [row["why"] for row in _matrix(sources)] == ["changed"]
    told = json.loads(sources.must("-s", "explain", "--", "cpu@HEAD", "cpu", "--json").stdout)
    assert [found["what"] for found in told["differences"]] == ["acme (pip)"]
    assert told["tags"] == [b["reference"].rpartition(":")[2] for b in (first, second)]
    assert _contents(sources.cache, second["manifest"], "/acme/new.py")
    (sources.root / "src/acme/src/acme/new.py").unlink()
    assert sources.build("cpu")["manifest"] == first["manifest"]


def test_a_changed_wheel_or_tree_makes_the_lock_stale(sources: Project) -> None:
    wheel = sources.root / "wheels" / "boxed-1.0-py3-none-any.whl"
    wheel.write_bytes(make_wheel("boxed", "1.0", requires=["lib"])[0])
    assert "wheels/boxed-1.0-py3-none-any.whl" in sources.refused("lock.stale", "-s", "check")
    sources.must("-s", "lock")
    sources.must("-s", "check")
    write_files(sources.root / "src/acme", project_files("acme", requires=["lib"]))
    assert "src/acme" in sources.refused("lock.stale", "-s", "build-env")
    sources.must("-s", "lock")
    sources.must("-s", "build-env")


def test_local_runs_see_edits_at_once(sources: Project) -> None:
    sources.write("train.py", "import acme, boxed, packed, cloned\nprint('acme', acme.V)\n")
    spec = sources.root / "envs/cpu.toml"
    spec.write_text(f'{spec.read_text()}\n[train]\nscript = "train.py"\noutputs = []\n')
    first = sources.must("-s", "train", "--", "cpu", "--target", "local")
    assert "acme 1.0" in first.text
    sources.write("src/acme/src/acme/__init__.py", "V = 'edited'\n")
    second = sources.must("-s", "train", "--", "cpu", "--target", "local")
    assert "acme edited" in second.text
    kept = subprocess.run(
        ["find", str(sources.cache / "envs"), "-maxdepth", "1", "-mindepth", "1"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert len(kept) == 1
