"""Snapshots: the same files give the same digest, and only what belongs is in them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuild.errors import RunError
from envbuild.run.snapshot import copy_snapshot, plan_uploads, take_snapshot
from tests.rig.nobody import as_nobody, open_folder

__all__ = ["open_folder"]


def _write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def _git(folder: Path, *arguments: str) -> None:
    config = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *config, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder that is in no git repository."""
    folder = tmp_path / "source"
    folder.mkdir()
    return _write(folder, {"train.py": "print(1)", "lib/a.py": "a = 1"})


def _paths(folder: Path) -> list[str]:
    return [file.path for file in take_snapshot(folder).files]


def test_digest_says_content_path_and_execute_bit_and_nothing_else(
    source: Path, tmp_path: Path
) -> None:
    first = take_snapshot(source, script="train.py")
    assert first.digest.startswith("sha256:")
    assert len(first.digest) == 71
    os.utime(source / "train.py", (1, 1))
    (source / "train.py").chmod(0o600)
    assert take_snapshot(source).digest == first.digest
    copy_snapshot(first, _made(tmp_path / "copy"))
    assert take_snapshot(tmp_path / "copy").digest == first.digest


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("change", ["content", "name", "mode", "more", "less", "link"])
def test_any_change_changes_the_digest(source: Path, change: str) -> None:
    before = take_snapshot(source).digest
    file = source / "lib" / "a.py"
    if change == "content":
        file.write_text("a = 2")
    elif change == "name":
        file.rename(source / "lib" / "b.py")
    elif change == "mode":
        file.chmod(0o755)
    elif change == "more":
        (source / "new").write_text("")
    elif change == "less":
        file.unlink()
    else:
        file.unlink()
        file.symlink_to("../train.py")
    assert take_snapshot(source).digest != before


FILES = st.dictionaries(
    st.sampled_from(["a", "b", "ab", "a/b c", "b/a", "é"]),
    st.sampled_from(["", "x", "xy", "f", "x "]),
    min_size=1,
).filter(lambda files: not ({"a", "a/b c"} <= files.keys() or {"b", "b/a"} <= files.keys()))


@settings(max_examples=40, deadline=None)
@given(one=FILES, two=FILES)
def test_digests_are_equal_only_for_equal_files(
    tmp_path_factory: pytest.TempPathFactory, one: dict[str, str], two: dict[str, str]
) -> None:
    first = take_snapshot(_write(tmp_path_factory.mktemp("one"), one))
    second = take_snapshot(_write(tmp_path_factory.mktemp("two"), two))
    assert (first.digest == second.digest) == (one == two)


def test_usual_rubbish_is_left_out_without_git(source: Path) -> None:
    rubbish = {
        f"{name}/x": ""
        for name in (".git", ".venv", "__pycache__", ".envbuild", "node_modules", ".nox")
    }
    _write(source, {**rubbish, "lib/__pycache__/y": "", ".hidden": ""})
    assert _paths(source) == [".hidden", "lib/a.py", "train.py"]
    assert take_snapshot(source).git is None


def test_git_says_what_belongs(source: Path) -> None:
    _git(source, "init", "-q")
    _write(
        source,
        {
            ".gitignore": "*.bin\n/data/\n",
            "big.bin": "",
            "kept.bin": "",
            "data/x": "",
            "new é.txt": "",
            ".envbuild/runs/r": "",
            "gone.py": "",
        },
    )
    _git(source, "add", "-f", "kept.bin", "train.py", "gone.py", ".gitignore")
    (source / "gone.py").unlink()
    assert _paths(source) == [".gitignore", "kept.bin", "lib/a.py", "new é.txt", "train.py"]


def test_folder_within_a_repository_counts_alone(source: Path) -> None:
    _git(source, "init", "-q")
    _write(source, {".gitignore": "*.tmp", "lib/b.tmp": ""})
    assert _paths(source / "lib") == ["a.py"]


def test_repository_within_the_repository_is_part_of_it(source: Path) -> None:
    _git(source, "init", "-q")
    inner = _made(source / "inner")
    _write(inner, {"i.py": "", "x.tmp": "", ".gitignore": "*.tmp"})
    _git(inner, "init", "-q")
    _git(inner, "add", "i.py")
    _git(inner, "commit", "-qm", "x")
    assert "inner/i.py" in _paths(source)
    assert "inner/x.tmp" not in _paths(source)
    _git(source, "add", "inner")
    assert "inner/i.py" in _paths(source)
    assert not any(".git/" in path for path in _paths(source))


def test_variables_of_a_git_hook_do_not_lead_elsewhere(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = _write(_made(tmp_path / "other"), {"o.py": ""})
    _git(other, "init", "-q")
    _git(source, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert _paths(source) == ["lib/a.py", "train.py"]


def test_commit_and_dirt_are_recorded(source: Path) -> None:
    _git(source, "init", "-q")
    state = take_snapshot(source).git
    assert state is not None
    assert (state.commit, state.dirty) == (None, True)
    _git(source, "add", ".")
    _git(source, "commit", "-qm", "x")
    state = take_snapshot(source).git
    assert state is not None
    assert state.commit
    assert len(state.commit) == 40
    assert not state.dirty
    (source / "train.py").write_text("print(2)")
    state = take_snapshot(source).git
    assert state is not None
    assert state.dirty


def test_no_git_on_the_machine_is_said(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    snapshot = take_snapshot(source)
    assert [file.path for file in snapshot.files] == ["lib/a.py", "train.py"]
    assert snapshot.notes[0].startswith("git is not installed: what it would ignore is in")


def test_links_stay_inside(source: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    links = {
        "in": "lib/a.py",
        "folder": "lib",
        "absolute": str(source / "train.py"),
        "out": "../secret",
        "far": "/etc/passwd",
        "loop": "loop",
    }
    for name, target in links.items():
        (source / name).symlink_to(target)
    snapshot = take_snapshot(source)
    kept = {file.path: file.link for file in snapshot.files if file.link is not None}
    assert kept == {"in": "lib/a.py", "folder": "lib", "absolute": "train.py"}
    assert sorted(note.split("`")[1] for note in snapshot.notes) == ["far", "loop", "out"]
    copy_snapshot(snapshot, _made(tmp_path / "copy"))
    assert (tmp_path / "copy/absolute").read_text() == "print(1)"
    assert (tmp_path / "copy/folder/a.py").read_text() == "a = 1"


def test_pipes_are_left_out_with_a_note(source: Path) -> None:
    os.mkfifo(source / "pipe")
    snapshot = take_snapshot(source)
    assert "`pipe`" in snapshot.notes[0]


def test_names_that_are_no_text_are_kept(source: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe")
    (source / name).write_text("x")
    _git(source, "init", "-q")
    snapshot = take_snapshot(source)
    assert name in [file.path for file in snapshot.files]
    copy_snapshot(snapshot, _made(tmp_path / "copy"))
    assert (tmp_path / "copy" / name).read_text() == "x"


def test_large_snapshot_is_warned_of(source: Path) -> None:
    with (source / "big").open("wb") as file:
        file.truncate(301_000_000)
    (note,) = take_snapshot(source).notes
    assert "301 MB" in note


@pytest.mark.parametrize(
    ("script", "words"), [("trian.py", "doesn't exist"), ("lib", "is a folder")]
)
def test_missing_script_is_named(source: Path, script: str, words: str) -> None:
    with pytest.raises(RunError, match=words) as caught:
        take_snapshot(source, script=script)
    assert caught.value.code == "run.no-script"
    assert script in caught.value.message


def test_ignored_script_is_told_apart_from_a_missing_one(source: Path) -> None:
    _git(source, "init", "-q")
    _write(source, {".gitignore": "train.py"})
    with pytest.raises(RunError, match="git ignores it") as caught:
        take_snapshot(source, script="train.py")
    assert caught.value.code == "run.no-script"


def test_missing_source_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere") as caught:
        take_snapshot(tmp_path / "nowhere")
    assert caught.value.code == "run.no-source"


@pytest.mark.parametrize("change", ["same size", "shorter", "longer", "gone"])
def test_file_that_changes_meanwhile_is_an_error(source: Path, tmp_path: Path, change: str) -> None:
    snapshot = take_snapshot(source)
    file = source / "train.py"
    if change == "gone":
        file.unlink()
    else:
        file.write_text({"same size": "print(2)", "shorter": "p", "longer": "print(1)#"}[change])
    codes = set()
    with pytest.raises(RunError) as caught:
        copy_snapshot(snapshot, _made(tmp_path / "copy"))
    codes.add(caught.value.code)
    with pytest.raises(RunError) as caught:
        [list(upload.read()) for upload in plan_uploads(snapshot, "/w") if upload.read]
    codes.add(caught.value.code)
    assert codes == {"run.unreadable" if change == "gone" else "run.source-changed"}


def test_uploads_name_parents_before_what_is_in_them(source: Path) -> None:
    _write(source, {"x/y/z/file": ""})
    seen: list[str] = []
    for upload in plan_uploads(take_snapshot(source), "/w"):
        parent = upload.path.rpartition("/")[0]
        assert parent in {"", *seen}
        seen.append(upload.path)
    assert seen[0] == "/w"
    assert "/w/x/y/z/file" in seen
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("git", [True, False], ids=["git", "no git"])
@pytest.mark.parametrize("closed", ["lib", "lib/a.py"])
def test_what_this_user_may_not_read_is_not_left_out(
    open_folder: Path, closed: str, git: bool
) -> None:
    _write(open_folder, {"train.py": "print(1)", "lib/a.py": "a = 1"})
    if git:
        assert as_nobody(lambda: _git(open_folder, "init", "-q")) is None
    (open_folder / closed).chmod(0)
    error = as_nobody(lambda: take_snapshot(open_folder))
    assert isinstance(error, RunError)
    assert error.code == "run.unreadable"
    assert closed in error.message
    if git:
        _write(open_folder, {".gitignore": "lib\n"})
        assert as_nobody(lambda: len(take_snapshot(open_folder).files)) == 2
