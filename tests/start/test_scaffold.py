"""What a scaffold writes is a right spec, for editors too, and all of it or nothing is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import tomli

from envbuild.errors import SpecError
from envbuild.spec.load import load_spec
from envbuild.spec.schema import SCHEMA_FILE
from envbuild.start.scaffold import SCHEMA_PLACE, scaffold
from envbuild.start.templates import KINDS
from tests.rig.project import Project
from tests.story.conftest import small_disk

__all__ = ["small_disk"]


@pytest.mark.parametrize("kind", KINDS)
def test_spec_of_each_kind_is_right_and_its_files_are_there(tmp_path: Path, kind: str) -> None:
    written = scaffold(tmp_path, "my-env", kind=kind)
    spec = load_spec(tmp_path / "envs/my-env.toml")
    assert spec.train
    source = tmp_path / spec.train.source
    compile((source / spec.train.script).read_text(), spec.train.script, "exec")
    if spec.smoke:
        assert (source / (spec.smoke.entry_script or "")).is_file()
    if spec.image.dockerfile:
        assert (tmp_path / spec.image.dockerfile).is_file()
    assert not [p for p in written if "@name@" in (tmp_path / p).read_text()]
    assert "@" not in (tmp_path / "envs/my-env.toml").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_first_line_names_the_schema_that_is_there(tmp_path: Path, kind: str) -> None:
    scaffold(tmp_path, "my-env", kind=kind)
    file = tmp_path / "envs/my-env.toml"
    mark, _, place = file.read_text().partition("\n")[0].partition(" ")
    assert mark == "#:schema"
    schema = file.parent / place
    assert schema == tmp_path / "envs" / "." / Path(SCHEMA_PLACE).name
    assert schema.read_bytes() == SCHEMA_FILE.read_bytes()
    jsonschema.Draft202012Validator(json.loads(schema.read_text())).validate(
        tomli.loads(file.read_text())
    )


def lint(file: Path, folder: Path) -> str:
    """Return what taplo, the checker in the editors' extension, has against a file."""
    program = Path(sys.executable).with_name("taplo")
    done = subprocess.run(
        [program, "lint", str(file)], cwd=folder, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stderr


def test_editors_check_by_that_line(tmp_path: Path) -> None:
    for kind in KINDS:
        scaffold(tmp_path, kind, kind=kind)
        assert lint(tmp_path / f"envs/{kind}.toml", tmp_path) == ""
    file = tmp_path / "envs/minimal.toml"
    file.write_text(file.read_text().replace("dependencies =", "dependancies ="))
    # From elsewhere, too: the schema is looked for beside the file.
    assert "'dependancies' was unexpected" in lint(file, Path("/"))


def test_what_is_there_is_not_taken_over(tmp_path: Path) -> None:
    own = tmp_path / "src/cpu/train.py"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(SpecError) as raised:
        scaffold(tmp_path, "cpu", kind="train")
    assert raised.value.code == "scaffold.exists"
    assert "`src/cpu/train.py` exists" in raised.value.message
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [own]
    assert own.read_text() == "mine"
    scaffold(tmp_path, "cpu", kind="train", force=True)
    assert "sklearn" in own.read_text()


@pytest.mark.parametrize(
    ("name", "better"),
    [("envbuild-minimal", "my-minimal"), ("My Env", "my-env"), ("a_b.toml", "a-b"), ("..", "tra")],
)
def test_name_that_cant_be_says_a_better_one(tmp_path: Path, name: str, better: str) -> None:
    with pytest.raises(SpecError) as raised:
        scaffold(tmp_path, name, kind="minimal")
    assert raised.value.code == "spec.name"
    assert f"nox -s scaffold -- {better}" in str(raised.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_kind_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as raised:
        scaffold(tmp_path, "cpu", kind="trian")
    assert raised.value.code == "scaffold.kind"
    assert raised.value.hint == "did you mean `train`?"


def test_full_disk_leaves_nothing(small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(56 << 10))  # room for the scripts and the spec, not for the schema
    with pytest.raises(OSError, match="No space left"):
        scaffold(small_disk, "cpu", kind="serve")
    assert list(small_disk.iterdir()) == [filler]


def test_full_disk_gives_back_what_was_written_over(small_disk: Path) -> None:
    scaffold_file = small_disk / "envs/cpu.toml"
    scaffold_file.parent.mkdir()
    scaffold_file.write_text("mine")
    (small_disk / "filler").write_bytes(bytes(52 << 10))
    with pytest.raises(OSError, match="No space left"):
        scaffold(small_disk, "cpu", kind="serve", force=True)
    assert scaffold_file.read_text() == "mine"
    assert not (small_disk / "src").exists()


def test_sessions_list_and_write(project: Project) -> None:
    listed = project.must("-s", "scaffold", "--", "--list").stdout
    assert all(kind in listed for kind in KINDS)
    said = project.must("-s", "scaffold", "--", "cpu", "--json").stdout
    found = json.loads(said[said.index("{") :])
    assert "envs/cpu.toml" in found["written"]
    assert "nox -s scaffold -- NAME" in project.refused("session.arguments", "-s", "scaffold")
    project.refused("scaffold.exists", "-s", "scaffold", "--", "cpu")
