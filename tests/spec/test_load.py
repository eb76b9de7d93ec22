"""Finding and loading `envs/NAME.toml`: every way it can go wrong before a key is read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.errors import SpecError
from envbuild.spec.load import check_name, find_environments, load_spec, parse_spec

SMALLEST = 'python = "3.11.*"\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "envs").mkdir()
    for name in ("cpu", "cpu-training", "gpu"):
        (tmp_path / "envs" / f"{name}.toml").write_text(SMALLEST)
    return tmp_path


def refuse(path: Path) -> SpecError:
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    return caught.value


def test_environments_are_found_sorted_by_their_files_names(root: Path) -> None:
    for other in (".hidden.toml", "notes.txt", "cpu.toml.orig"):
        (root / "envs" / other).write_text("")
    assert find_environments(root) == ("cpu", "cpu-training", "gpu")


def test_environments_are_found_without_reading_them(root: Path) -> None:
    (root / "envs" / "broken.toml").symlink_to("/nowhere/at/all")
    assert "broken" in find_environments(root)


def test_repository_without_environments_has_none(tmp_path: Path) -> None:
    assert find_environments(tmp_path) == ()


def test_spec_loads(root: Path) -> None:
    assert load_spec(root / "envs" / "cpu.toml").python == "3.11.*"


def test_missing_spec_names_the_nearest(root: Path) -> None:
    error = refuse(root / "envs" / "cpu-trainin.toml")
    assert error.code == "spec.missing"
    assert "`envs/cpu-trainin.toml` does not exist" in str(error)
    assert error.hint == "did you mean `cpu-training`?"


def test_missing_spec_names_all_where_none_is_near(root: Path) -> None:
    error = refuse(root / "envs" / "zzz.toml")
    assert error.hint == "the environments here are `cpu`, `cpu-training` and `gpu`"


@pytest.mark.parametrize("folder", ["envs", "nowhere"])
def test_missing_spec_says_what_to_write_where_there_is_none(tmp_path: Path, folder: str) -> None:
    (tmp_path / "envs").mkdir()
    error = refuse(tmp_path / folder / "cpu.toml")
    assert error.code == "spec.missing"
    assert 'python = "3.11.*"' in (error.hint or "")


def test_folder_in_place_of_a_spec_is_refused(root: Path) -> None:
    (root / "envs" / "folder.toml").mkdir()
    error = refuse(root / "envs" / "folder.toml")
    assert error.code == "spec.unreadable"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("linked", [False, True])
def test_pipe_in_place_of_a_spec_is_refused_and_not_waited_for(root: Path, linked: bool) -> None:
    pipe = root / ("pipe" if linked else "envs/pipe.toml")
    os.mkfifo(pipe)
    if linked:
        (root / "envs/pipe.toml").symlink_to(pipe)
    error = refuse(root / "envs" / "pipe.toml")
    assert error.code == "spec.unreadable"
    assert "`envs/pipe.toml` can't be read: it is no regular file" in str(error)


def test_spec_that_can_not_be_read_is_refused(root: Path) -> None:
    (root / "envs" / "loop.toml").symlink_to("loop.toml")
    error = refuse(root / "envs" / "loop.toml")
    assert error.code == "spec.unreadable"
    assert "`envs/loop.toml` can't be read" in str(error)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CPU", "did you mean `cpu`?"),
        ("cpu.toml", "did you mean `cpu`?"),
        ("Vision Model_2", "run `mv 'envs/Vision Model_2.toml' envs/vision-model-2.toml`"),
        ("ü", "give its file another name, such as `envs/cpu-training.toml`"),
        ("a--b", "run `mv 'envs/a--b.toml' envs/a-b.toml`"),
        ("-a", "run `mv 'envs/-a.toml' envs/a.toml`"),
    ],
)
def test_name_with_other_characters_is_refused(root: Path, name: str, hint: str) -> None:
    (root / "envs" / f"{name}.toml").write_text(SMALLEST)
    error = refuse(root / "envs" / f"{name}.toml")
    assert error.code == "spec.name"
    assert hint in (error.hint or "")
    assert "cpu-training" in str(error)


def test_reserved_name_is_refused_with_the_copy_to_make(root: Path) -> None:
    error = refuse(root / "envs" / "envbuild-minimal.toml")
    assert error.code == "spec.name"
    assert error.hint == (
        "to change one of those, copy it under a name of your own, or extend it: "
        "run `mv envs/envbuild-minimal.toml envs/my-minimal.toml`"
    )


@given(st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True))
def test_right_names_pass(name: str) -> None:
    if not name.startswith("envbuild-"):
        check_name(name)


def find_refusal(call: Callable[[], object]) -> SpecError | None:
    try:
        call()
    except SpecError as error:
        return error
    return None


@given(st.text(max_size=8))
def test_any_name_passes_or_is_refused_with_a_hint(name: str) -> None:
    error = find_refusal(lambda: check_name(name, known=["cpu"]))
    assert error is None or (error.code == "spec.name" and error.hint)


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda t: t.encode("utf-8", "replace")))
def test_any_bytes_are_a_spec_or_a_purposeful_error(data: bytes) -> None:
    error = find_refusal(lambda: parse_spec(data, where="envs/x.toml"))
    if error is not None:
        assert error.code in {"spec.encoding", "spec.syntax", "spec.empty", "spec.invalid"}
        assert "`envs/x.toml`" in error.message


def test_problems_stand_in_the_order_of_their_lines() -> None:
    data = b"conda = 1\nsmoke = 2\npython = 3\nenv = 4\nx = 5\n"
    with pytest.raises(SpecError) as caught:
        parse_spec(data, where="envs/x.toml")
    assert [problem.line for problem in caught.value.problems] == [1, 2, 3, 4, 5]


def test_right_specs_need_neither_packaging_nor_difflib_nor_the_http_client(root: Path) -> None:
    """What a no-op of the whole repository imports is what makes it slow."""
    (root / "envs" / "cpu.toml").write_text(
        'python = "3.11.*"\n[pip]\ndependencies = ["httpx>=0.27", "uvicorn[standard]", "a==1.*"]\n'
        '[conda]\ndependencies = ["numpy 2.*"]\n'
    )
    program = (
        "import sys, pathlib\n"
        "from envbuild.spec.load import find_environments, load_spec\n"
        "from envbuild.spec.settings import load_settings\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "load_settings(root)\n"
        "[load_spec(root / 'envs' / f'{n}.toml') for n in find_environments(root)]\n"
        "print(sorted({'packaging', 'difflib', 'urllib3', 'yaml', 'rattler'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(root)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
