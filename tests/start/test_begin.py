"""`envbuild init` in an empty folder and in a full one: what is there stays, twice is once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from envbuild.errors import SpecError
from envbuild.spec.settings import load_settings
from envbuild.start.begin import begin, is_ignored
from envbuild.start.noxfile import registers


def read_all(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_empty_folder_gets_all_and_the_second_time_nothing(tmp_path: Path) -> None:
    begun = begin(tmp_path, name="first", kind="minimal")
    assert begun.environments == ("first",)
    assert begun.todo == ()
    before = read_all(tmp_path)
    assert registers(tmp_path / "noxfile.py")
    assert (tmp_path / ".gitignore").read_text() == ".envbuild/\n"
    assert not (tmp_path / "pyproject.toml").exists()
    again = begin(tmp_path, name="first", kind="minimal")
    assert (again.steps, again.todo) == ((), ())
    assert read_all(tmp_path) == before


def test_what_somebody_wrote_stays(tmp_path: Path) -> None:
    (tmp_path / "noxfile.py").write_text("import nox\n")
    (tmp_path / ".gitignore").write_bytes(b"build/\r\n*.log")
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/own.toml").write_text('python = "3.11.*"\n')
    begun = begin(tmp_path, name="first", kind="minimal")
    assert begun.environments == ("own",)
    assert (tmp_path / "noxfile.py").read_text() == "import nox\n"
    assert "envbuild.register()" in begun.todo[0]
    assert (tmp_path / ".gitignore").read_bytes() == b"build/\r\n*.log\r\n.envbuild/\r\n"


def test_name_is_not_dropped_without_a_word(tmp_path: Path) -> None:
    begin(tmp_path, kind="minimal")
    again = begin(tmp_path, name="other", kind="train")
    assert again.environments == ("training",)
    (said,) = again.todo
    assert "`other` was not written" in said
    assert "run `nox -s scaffold -- other --from train`" in said
    assert begin(tmp_path, name="training", kind="train").todo == ()


def test_repository_goes_into_pyproject_without_touching_the_rest(tmp_path: Path) -> None:
    own = '[project]\nname = "x" # mine'
    (tmp_path / "pyproject.toml").write_text(own)
    begin(tmp_path, name="first", kind="minimal", repository="registry.example.com/team")
    assert (tmp_path / "pyproject.toml").read_text().startswith(own + "\n\n[tool.envbuild]\n")
    assert load_settings(tmp_path).repository == "registry.example.com/team"
    other = begin(tmp_path, name="first", kind="minimal", repository="other.example.com/x")
    assert 'repository = "other.example.com/x"' in other.todo[0]
    assert load_settings(tmp_path).repository == "registry.example.com/team"


def test_repository_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as raised:
        begin(tmp_path, name="first", kind="minimal", repository="https://Registry/x")
    assert raised.value.code == "settings.invalid"
    assert list(tmp_path.iterdir()) == []


def test_ignore_is_as_git_sees_it(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert not is_ignored(tmp_path)
    (tmp_path / ".git/info/exclude").write_text(".env*/\n")
    assert is_ignored(tmp_path)
    begin(tmp_path, name="first", kind="minimal")
    assert not (tmp_path / ".gitignore").exists()


def test_link_stays_a_link(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    root.mkdir()
    (tmp_path / "shared").write_text("build/\n")
    (root / ".gitignore").symlink_to("../shared")
    begin(root, name="first", kind="minimal")
    assert (root / ".gitignore").is_symlink()
    assert (tmp_path / "shared").read_text() == "build/\n.envbuild/\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("import envbuild\nenvbuild.register()\n", True),
        ("from envbuild import register as r\nr('x')\n", True),
        ("import envbuild as e\nif True:\n    e.register(root='.')\n", True),
        ("import envbuild\n# envbuild.register()\n", False),
        ("import atexit\natexit.register(print)\n", False),
        ("envbuild.register(\n", True),  # broken, but meant
        ("", False),
    ],
)
def test_call_in_a_noxfile_is_found(tmp_path: Path, text: str, wanted: bool) -> None:
    (tmp_path / "noxfile.py").write_text(text)
    assert registers(tmp_path / "noxfile.py") is wanted


def test_command_is_about_its_own_folder(tmp_path: Path) -> None:
    def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        folder.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-m", "envbuild", "init", *words], cwd=folder,
            env=dict(os.environ), capture_output=True, text=True, check=False,
        )  # fmt: skip

    (tmp_path / "envs").mkdir()  # a folder of that name above is no repository of ours
    assert call(tmp_path / "a").returncode == 0
    assert (tmp_path / "a/envs/training.toml").is_file()
    inside = call(tmp_path / "a/src")
    assert inside.returncode == 1
    assert "[init.inside]" in inside.stderr
    wrong = call(tmp_path / "b", "Bad_Name")
    assert "[spec.name]" in wrong.stderr
    assert list((tmp_path / "b").iterdir()) == []
