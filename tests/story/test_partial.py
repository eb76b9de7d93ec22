"""What concerns one environment, or the repository, is not lost among many."""

from __future__ import annotations

import json

from tests.rig.pip_index import PipIndex
from tests.rig.project import Project

SPEC = """\
platforms = ["linux-64"]
python = "3.11.*"
[conda]
dependencies = ["greet"]
[pip]
dependencies = ["{package}"]
index-url = "{index}"
[image]
base = "scratch"
"""


def test_what_moved_is_told_although_another_one_failed(
    image_project: Project, pip_index: PipIndex
) -> None:
    for name, package in (("bad", "nosuch"), ("good", "acme")):
        text = SPEC.format(package=package, index=pip_index.url)
        image_project.write(f"envs/{name}.toml", text)
    outcome = image_project.nox("-s", "lock", "--", "--markdown")
    assert outcome.code == 1
    assert "### `good`" in outcome.stdout
    assert "[lock.unsatisfiable]" in outcome.text
    (image_project.root / "lockfiles/good/envbuild.lock").unlink()
    outcome = image_project.nox("-s", "lock", "--", "--json")
    document = json.loads(outcome.stdout[outcome.stdout.index("{") :])
    assert list(document["done"]) == ["demo", "good"]


def test_settings_that_are_wrong_fail_the_check_once(image_project: Project) -> None:
    file = image_project.root / "pyproject.toml"
    file.write_text(file.read_text() + 'default-enviroment = "demo"\n')
    for session in ("check", "ci-matrix"):
        outcome = image_project.nox("-s", session)
        assert outcome.code == 1
        assert outcome.stderr.count("did you mean `default-environment`") == 1


def test_the_doctor_sees_what_no_lock_knows_of(image_project: Project) -> None:
    spec = image_project.root / "envs/demo.toml"
    spec.write_text(spec.read_text() + '[train]\nscript = "trian.py"\n')
    (image_project.root / "lockfiles/gone").mkdir()
    text = image_project.nox("-s", "doctor").text
    assert "`train.script` leads to `trian.py`" in text
    assert "git rm -r lockfiles/gone" in text
