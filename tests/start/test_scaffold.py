"""What a scaffold writes is a right spec, for editors too, and all of it or nothing is written."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import jsonschema
import pytest
import tomli

from envbuild.errors import SpecError
from envbuild.spec.curated import find_curated
from envbuild.spec.load import load_curated, load_spec
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


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_defaults_say_is_left_to_them(tmp_path: Path, kind: str) -> None:
    defaults = 'python = "3.11"\nplatforms = ["linux-64", "linux-aarch64"]\n'
    project = tmp_path / "pyproject.toml"
    project.write_text(f"[tool.envbuild.defaults]\n{defaults}")
    scaffold(tmp_path, "my-env", kind=kind)
    text = (tmp_path / "envs/my-env.toml").read_text()
    told, spec = tomli.loads(text), load_spec(tmp_path / "envs/my-env.toml")
    if kind in {"minimal", "train", "serve", "conda"}:
        assert not {"python", "platforms"} & told.keys()
        assert (spec.python, spec.platforms) == ("3.11", ("linux-64", "linux-aarch64"))
        assert "# python: what `[tool.envbuild.defaults]` in `pyproject.toml` says" in text
    if kind == "gpu":  # its packages are for this one only
        assert spec.platforms == ("linux-64",)
    if kind == "dockerfile":  # its base has one Python only
        assert spec.python == "3.11"


def test_defaults_that_do_not_go_with_the_kind_are_not_taken(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(
        '[tool.envbuild.defaults]\nplatforms = ["linux-aarch64"]\npython = "3.13.*"\n'
    )
    scaffold(tmp_path, "one", kind="minimal")
    spec = load_spec(tmp_path / "envs/one.toml")
    assert (spec.python, spec.platforms) == ("3.11.*", ("linux-aarch64",))
    assert "platforms" not in tomli.loads((tmp_path / "envs/one.toml").read_text())
    project.write_text(f'{project.read_text()}image.base = "debian:trixie"\n')
    scaffold(tmp_path, "two", kind="minimal")
    spec = load_spec(tmp_path / "envs/two.toml")
    assert (spec.python, spec.image.base, spec.image.user) == ("3.13.*", "debian:trixie", "nonroot")


def test_every_curated_environment_is_a_kind_that_extends_it(tmp_path: Path) -> None:
    assert set(find_curated()) == {kind for kind in KINDS if kind.startswith("envbuild-")}
    for kind in find_curated():
        scaffold(tmp_path, f"my-{kind}", kind=kind)
        spec = load_spec(tmp_path / f"envs/my-{kind}.toml")
        parent = load_curated(kind, root=tmp_path)
        assert spec.extends == kind
        assert set(parent.pip.dependencies) <= set(spec.pip.dependencies)
        assert (spec.conda, spec.image) == (parent.conda, parent.image)


def lint(file: Path, folder: Path) -> str:
    """Return what taplo, the checker in the editors' extension, has against a file."""
    program = Path(sys.executable).with_name("taplo")
    done = subprocess.run(
        [program, "lint", str(file)], cwd=folder, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stderr


def test_editors_check_by_that_line(tmp_path: Path) -> None:
    for kind in KINDS:
        scaffold(tmp_path, f"my-{kind}", kind=kind)
        assert lint(tmp_path / f"envs/my-{kind}.toml", tmp_path) == ""
    file = tmp_path / "envs/my-minimal.toml"
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


WATCHED = (
    "/envbuild/start/",
    "/envbuild/kit/files.py",
    "/kit/signals.py",
    "/contextlib.py",
    "/tempfile.py",
)


def interrupt_at(line: int, number: signal.Signals, work: Callable[[], object]) -> bool:
    """Run `work`, with a signal before that line of the code that writes; False if it had ended."""
    seen = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal seen
        if event == "line" and any(part in frame.f_code.co_filename for part in WATCHED):
            seen += 1
            if seen == line:
                sys.settrace(None)
                signal.raise_signal(number)
        return trace

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    old = signal.signal(number, interrupt)  # as the sessions have it
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
        signal.signal(number, old)
    return False


def read_all(root: Path) -> dict[str, bytes | None]:
    """Return every path below `root`; what is in it, if it is a file."""
    return {str(p): p.read_bytes() if p.is_file() else None for p in root.rglob("*")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("there", [False, True], ids=["new", "over-what-is-there"])
def test_interrupted_anywhere_all_is_written_or_nothing(
    tmp_path: Path, number: signal.Signals, *, there: bool
) -> None:
    """Before every single line, where a file has its name for a moment only too."""
    root = tmp_path / "root"

    def begin() -> None:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        if there:
            scaffold(root, "cpu", kind="train")

    def write() -> tuple[str, ...]:
        return scaffold(root, "cpu", kind="serve", force=True)

    begin()
    before = read_all(root)
    write()
    after = read_all(root)
    begin()
    line, ended = 0, {"before": 0, "after": 0}
    while interrupt_at(line := line + 1, number, write):
        now = read_all(root)
        assert now in (before, after), f"line {line}"
        ended["before" if now == before else "after"] += 1
        if now != before:
            begin()
    assert min(ended.values()) > 10
    assert read_all(root) == after


def test_sessions_list_and_write(project: Project) -> None:
    listed = project.must("-s", "scaffold", "--", "--list").stdout
    assert all(kind in listed for kind in KINDS)
    said = project.must("-s", "scaffold", "--", "more", "--from", "envbuild-scientific").stdout
    assert "pre-commit" in said
    assert "`examples/ci`" in said
    said = project.must("-s", "scaffold", "--", "cpu", "--json").stdout
    found = json.loads(said[said.index("{") :])
    assert "envs/cpu.toml" in found["written"]
    assert "nox -s scaffold -- NAME" in project.refused("session.arguments", "-s", "scaffold")
    project.refused("scaffold.exists", "-s", "scaffold", "--", "cpu")
