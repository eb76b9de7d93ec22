"""Git repositories: one commit is locked and built, and no credential gets anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuild.errors import LockError
from envbuild.kit.places import Cache
from envbuild.lock.upgrade import Upgrade
from tests.lock.test_source_sdist import fetch, lock_of
from tests.rig.git_server import GitServer, serve_repository
from tests.rig.pip_bench import Bench
from tests.rig.planted import watched_commands
from tests.rig.sources import (
    commit_all,
    make_repository,
    project_files,
    run_git,
    write_files,
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit, a project `acme` at its root."""
    folder = tmp_path / "git" / "acme"
    make_repository(folder, project_files("acme", "1.0"))
    return folder


def _head(folder: Path) -> str:
    return run_git(folder, "rev-parse", "HEAD")


def test_a_branch_is_locked_as_its_commit(pip_bench: Bench, repository: Path) -> None:
    asked = f"acme @ git+file://{repository}@main"
    solution = pip_bench.resolve(asked, build=("acme",))
    (source,) = solution.sources
    assert (source.kind, source.place) == ("git", f"file://{repository}")
    assert (source.pin, source.reference) == (_head(repository), "main")
    assert solution.wheels[0].version == "1.0"
    text = solution.text.decode()
    assert f"# acme==1.0 is built from commit {source.pin} of file://{repository}" in text


def test_what_it_needs_is_locked_and_two_builds_are_equal(
    pip_bench: Bench, repository: Path, tmp_path: Path
) -> None:
    pip_bench.index.add("lib", "1.0")
    pip_bench.index.add("kit", "1.0")
    write_files(repository, project_files("acme", "1.1", requires=["lib"], build=["kit"]))
    commit = commit_all(repository, "second")
    solution = pip_bench.resolve(f"acme @ git+file://{repository}@{commit}", build=("acme",))
    assert [(w.name, w.version) for w in solution.wheels] == [("acme", "1.1"), ("lib", "1.0")]
    paths = fetch(pip_bench, solution, Cache(root=tmp_path / "other"))
    assert [p.parent.name for p in paths] == [w.sha256 for w in solution.wheels]


def test_the_commit_stays_until_an_upgrade(pip_bench: Bench, repository: Path) -> None:
    asked = f"acme @ git+file://{repository}@main"
    first = pip_bench.resolve(asked, build=("acme",))
    write_files(repository, project_files("acme", "2.0"))
    commit_all(repository, "second")
    old = lock_of(first)
    assert pip_bench.resolve(asked, build=("acme",), old=old).sources == first.sources
    upgrade = Upgrade(packages=frozenset({"acme"}))
    moved = pip_bench.resolve(asked, build=("acme",), old=old, upgrade=upgrade)
    assert moved.wheels[0].version == "2.0"
    assert moved.sources[0].pin == _head(repository)


@pytest.mark.parametrize("annotated", [False, True])
def test_a_tag_a_commit_and_the_default_branch(
    pip_bench: Bench, repository: Path, annotated: bool
) -> None:
    first = _head(repository)
    run_git(repository, "tag", *(["-a", "-m", "one"] if annotated else []), "v1")
    write_files(repository, project_files("acme", "2.0"))
    second = commit_all(repository, "second")
    wanted = {"@v1": first, f"@{first}": first, "": second}
    for reference, commit in wanted.items():
        asked = f"acme @ git+file://{repository}{reference}"
        (source,) = pip_bench.resolve(asked, build=("acme",)).sources
        assert source.pin == commit


def test_a_project_in_a_folder_and_a_commit_off_every_branch(
    pip_bench: Bench, repository: Path
) -> None:
    run_git(repository, "checkout", "-q", "--detach")
    inner = {f"python/kit/{path}": text for path, text in project_files("kit", "3.0").items()}
    write_files(repository, inner)
    commit = commit_all(repository, "kit")
    run_git(repository, "checkout", "-q", "main")
    asked = f"kit @ git+file://{repository}@{commit}#subdirectory=python/kit"
    solution = pip_bench.resolve(asked, build=("kit",))
    assert [(w.name, w.version) for w in solution.wheels] == [("kit", "3.0")]
    assert solution.sources[0].subdirectory == "python/kit"


def test_it_is_built_only_where_that_is_allowed(pip_bench: Bench, repository: Path) -> None:
    with pytest.raises(LockError) as failure:
        pip_bench.resolve(f"acme @ git+file://{repository}@main")
    assert failure.value.code == "pip.build-refused"
    assert 'build-from-source = ["acme"]' in str(failure.value.hint)


@pytest.mark.parametrize(
    ("reference", "code"), [("nothing", "pip.git-reference"), ("0123abc", "pip.git-reference")]
)
def test_a_name_that_it_lacks_is_refused(
    pip_bench: Bench, repository: Path, reference: str, code: str
) -> None:
    with pytest.raises(LockError) as failure:
        pip_bench.resolve(f"acme @ git+file://{repository}@{reference}", build=("acme",))
    assert failure.value.code == code
    assert reference in failure.value.message


def test_a_repository_that_is_not_there_is_named(pip_bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(LockError) as failure:
        pip_bench.resolve(f"acme @ git+file://{tmp_path}/none@main", build=("acme",))
    assert failure.value.code == "pip.git"
    assert f"{tmp_path}/none" in failure.value.message


@pytest.fixture
def served(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    """The repository behind a login."""
    monkeypatch.setenv("GIT_PASSWORD", "hunter2/:@")
    with serve_repository(repository, ("robot", "hunter2/:@")) as server:
        yield server


def test_a_credential_reaches_git_and_nothing_else(pip_bench: Bench, served: GitServer) -> None:
    asked = f"acme @ git+http://robot:${{GIT_PASSWORD}}@{served.place}@main"
    with watched_commands() as commands:
        solution = pip_bench.resolve(asked, build=("acme",))
    assert solution.sources[0].place == f"http://{served.place}"
    assert set(served.seen) == {served.header}
    assert any(command.startswith(b"git\0") for command in commands)
    for secret in ("hunter2", served.header.removeprefix("Basic ")):
        assert not any(secret.encode() in command for command in commands)
        assert secret not in solution.text.decode() + repr(solution)
        kept = (p for p in pip_bench.root.rglob("*") if p.is_file())
        assert not any(secret.encode() in p.read_bytes() for p in kept)


def test_a_wrong_credential_is_a_clear_error(pip_bench: Bench, served: GitServer) -> None:
    served.login = ("robot", "swordfish")
    with pytest.raises(
        LockError, match="refuses access with the login in `GIT_PASSWORD`"
    ) as failure:
        pip_bench.resolve(
            f"acme @ git+http://robot:${{GIT_PASSWORD}}@{served.place}@main", build=("acme",)
        )
    assert failure.value.code == "pip.git"
    assert "hunter2" not in str(failure.value)
    assert not any("hunter2" in log.read_text() for log in pip_bench.logs.glob("*"))


def test_a_login_from_netrc(
    pip_bench: Bench, served: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    asked = f"acme @ git+http://{served.place}@main"
    with pytest.raises(LockError, match="refuses access without a login") as failure:
        pip_bench.resolve(asked, build=("acme",))
    assert failure.value.code == "pip.git"
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login robot password hunter2/:@\n")
    assert pip_bench.resolve(asked, build=("acme",)).sources
    assert served.header in served.seen


def test_submodules_belong_to_it(
    pip_bench: Bench, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "git" / "inner"
    make_repository(inner, {"data.py": "X = 1\n"})
    allow = tmp_path / "gitconfig"
    allow.write_text('[protocol "file"]\n\tallow = always\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(allow))
    add = ["git", "-C", str(repository), "submodule", "--quiet", "add", str(inner), "src/inner"]
    subprocess.run(add, check=True, capture_output=True, env={**os.environ})
    commit_all(repository, "with inner")
    solution = pip_bench.resolve(f"acme @ git+file://{repository}@main", build=("acme",))
    (path,) = fetch(pip_bench, solution, pip_bench.cache)
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(path)], capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    assert "inner/data.py" in listed
