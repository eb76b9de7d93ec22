"""Git repositories: one commit is locked and built, and no credential gets anywhere."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from envbuild.errors import LockError
from envbuild.kit.places import Cache
from envbuild.lock.upgrade import Upgrade
from tests.lock.test_source_sdist import fetch, lock_of
from tests.rig.pip_bench import Bench
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


class _Server(ThreadingHTTPServer):
    """A repository over http (git's dumb protocol), for whoever gives the right password."""

    folder: Path
    seen: list[str]
    commands: list[str]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: git may close a connection early."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        wanted = base64.b64encode(b"robot:hunter2/:@").decode()
        self.server.seen.append(self.headers.get("Authorization", ""))
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.server.commands.append(command.read_bytes().decode("utf-8", "replace"))
            except OSError:
                continue
        file = self.server.folder / self.path.partition("?")[0].removeprefix("/acme.git/")
        allowed = self.headers.get("Authorization") == f"Basic {wanted}"
        status = (200 if file.is_file() else 404) if allowed else 401
        body = file.read_bytes() if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def served(repository: Path) -> Iterator[_Server]:
    """The repository behind a login."""
    run_git(repository, "update-server-info")
    server = _Server(("127.0.0.1", 0), _Handler)
    server.folder, server.seen, server.commands = repository / ".git", [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_credential_reaches_git_and_nothing_else(
    pip_bench: Bench, served: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_PASSWORD", "hunter2/:@")
    host = f"127.0.0.1:{served.server_address[1]}"
    asked = f"acme @ git+http://robot:${{GIT_PASSWORD}}@{host}/acme.git@main"
    solution = pip_bench.resolve(asked, build=("acme",))
    assert solution.sources[0].place == f"http://{host}/acme.git"
    assert set(served.seen) == {"Basic " + base64.b64encode(b"robot:hunter2/:@").decode()}
    secrets = ("hunter2", served.seen[0].removeprefix("Basic "))
    assert any("git" in command for command in served.commands)
    for secret in secrets:
        assert not any(secret in command for command in served.commands)
        assert secret not in solution.text.decode() + repr(solution)
        kept = (p for p in pip_bench.root.rglob("*") if p.is_file())
        assert not any(secret.encode() in p.read_bytes() for p in kept)


def test_a_wrong_credential_is_a_clear_error(
    pip_bench: Bench, served: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_PASSWORD", "swordfish")
    host = f"127.0.0.1:{served.server_address[1]}"
    with pytest.raises(LockError) as failure:
        pip_bench.resolve(
            f"acme @ git+http://robot:${{GIT_PASSWORD}}@{host}/acme.git@main", build=("acme",)
        )
    assert failure.value.code == "pip.git"
    assert "swordfish" not in str(failure.value)
    assert not any("swordfish" in log.read_text() for log in pip_bench.logs.glob("*"))


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
