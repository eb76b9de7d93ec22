"""The wheel has all that envbuild needs: it works where there is no checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from envbuild.spec.curated import find_curated
from envbuild.start.templates import KINDS

pytestmark = pytest.mark.network  # to build it, the build backend comes from the index

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "build", "--wheel", "-q", "-o", folder, ROOT], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard", "envbuild"], cwd=ROOT, check=True,
        capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    files = {name for name in tracked if name and (ROOT / name).is_file()}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == files
    assert {f"envbuild/curated/{name}.toml" for name in find_curated()} <= packed
    assert {f"envbuild/start/templates/{kind}.toml" for kind in KINDS} <= packed
    assert {"envbuild/py.typed", "envbuild/spec/envbuild.schema.json"} <= packed


def test_the_installed_wheel_works_outside_of_a_checkout(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, which has the dependencies of this one but not its envbuild."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = venv / "bin/python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps",
         "--no-index", wheel],
        check=True,
    )  # fmt: skip
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    work = tmp_path / "work"
    work.mkdir()

    def run(*words: str) -> str:
        return subprocess.run(
            [venv / "bin/envbuild", *words], cwd=work, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    place = subprocess.run(
        [python, "-c", "import envbuild; print(envbuild.__file__)"], cwd=work, check=True,
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert Path(place).is_relative_to(site)
    listed = json.loads(run("envs", "--json"))
    assert {one["environment"] for one in listed} == set(find_curated())
    assert not [one for one in listed if one["error"]]
    for kind in KINDS:
        run("scaffold", f"my-{kind}", "--from", kind)
    assert len(json.loads(run("envs", "--json"))) == len(KINDS) + len(find_curated())
    assert (work / "envs/envbuild.schema.json").is_file()
