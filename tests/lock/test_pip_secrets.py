"""A credential reaches the index, and nothing else: no lock, log, message or argument list."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from envbuild.errors import LockError
from envbuild.kit.places import Cache
from envbuild.lock.model import Wheel
from envbuild.lock.wheels import fetch_wheels
from envbuild.spec.model import EnvSpec, Pip
from tests.rig.pip_bench import MINOR, Bench, Heard, find_host
from tests.rig.processes import list_commands

SECRET = "s3cret:with/odd@characters"
FORMS = (SECRET, "s3cret%3Awith%2Fodd%40characters", "s3cret")
RESOLVERS = pytest.mark.parametrize("resolver", ["pip-tools", "uv"])


@pytest.fixture
def private(pip_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the index ask for a login, and return its URL with references to it."""
    monkeypatch.setenv("ACME_TOKEN", SECRET)
    pip_bench.index.login = ("robot", SECRET)
    pip_bench.index.add("app", "1.0", "one")
    pip_bench.index.add("one", "1.0")
    return pip_bench.index.url_with("robot:${ACME_TOKEN}")


def _check(text: str, where: str) -> None:
    for form in FORMS:
        assert form not in text, where


def _check_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            _check(path.read_text("utf-8", "replace"), str(path.relative_to(folder)))


@RESOLVERS
def test_a_private_index_works_and_its_credential_stays_inside(
    pip_bench: Bench, private: str, resolver: str
) -> None:
    solution = pip_bench.resolve("app", resolver=resolver, index_url=private)
    assert [wheel.name for wheel in solution.wheels] == ["app", "one"]
    _check(solution.text.decode() + repr(solution), "solution")
    _check("".join(pip_bench.heard.notes), "notes")
    _check_files(pip_bench.root)


@RESOLVERS
def test_a_failure_shows_no_credential(pip_bench: Bench, private: str, resolver: str) -> None:
    with pytest.raises(LockError) as failure:
        pip_bench.resolve("app", "nothing-like-it", resolver=resolver, index_url=private)
    assert failure.value.code == "lock.unsatisfiable"
    _check(str(failure.value), "error")
    _check("".join(pip_bench.heard.notes), "notes")
    assert list(pip_bench.logs.iterdir())
    _check_files(pip_bench.root)


@RESOLVERS
def test_a_refused_credential_is_not_repeated(
    pip_bench: Bench, private: str, resolver: str
) -> None:
    pip_bench.index.login = ("robot", "another")
    with pytest.raises(LockError) as failure:
        pip_bench.resolve("app", resolver=resolver, index_url=private)
    assert failure.value.code == "lock.index"
    _check(str(failure.value), "error")
    assert pip_bench.index.url in failure.value.message
    assert "with the login in `ACME_TOKEN`" in failure.value.message
    assert "`export ACME_TOKEN=...`" in str(failure.value.hint)
    _check_files(pip_bench.root)


@RESOLVERS
def test_a_login_from_netrc(
    pip_bench: Bench, private: str, resolver: str, cache: Cache, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    index = pip_bench.index
    index.login = ("robot", "s3cret-of-netrc")
    with pytest.raises(LockError, match="without a login") as failure:
        pip_bench.resolve("app", resolver=resolver, index_url=index.url)
    assert failure.value.code == "lock.index"
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login robot password s3cret-of-netrc\n")
    wheels = pip_bench.resolve("app", resolver=resolver, index_url=index.url).wheels
    assert _fetch(wheels, index.url, cache, Heard())
    _check_files(pip_bench.root)
    _check_files(cache.root)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@RESOLVERS
def test_no_argument_list_holds_a_credential(pip_bench: Bench, private: str, resolver: str) -> None:
    seen: list[str] = []

    def look() -> None:
        for _, command in list_commands():
            seen.append(command.replace(b"\0", b" ").decode("utf-8", "replace"))

    pip_bench.index.watch = look
    pip_bench.resolve("app", resolver=resolver, index_url=private)
    tool = "piptools" if resolver == "pip-tools" else "uv"
    assert any(tool in command and " compile " in command for command in seen)
    for command in seen:
        _check(command, command[:60])


def test_a_download_shows_no_credential(pip_bench: Bench, private: str, cache: Cache) -> None:
    wheels = pip_bench.resolve("app", index_url=private).wheels
    heard = Heard()
    files = _fetch(wheels, private, cache, heard)
    assert {path.name for path in files.values()} == {wheel.filename for wheel in wheels}
    _check(repr(heard), "progress")


def test_a_failed_download_shows_no_credential(
    pip_bench: Bench, private: str, cache: Cache
) -> None:
    wheels = pip_bench.resolve("app", index_url=private).wheels
    pip_bench.index.files.pop("one")
    with pytest.raises(LockError) as failure:
        _fetch(wheels, private, cache, Heard())
    assert failure.value.code == "lock.artifact-gone"
    _check(str(failure.value), "error")
    assert list(cache.logs.iterdir())
    _check_files(cache.logs)


def _fetch(wheels: tuple[Wheel, ...], url: str, cache: Cache, heard: Heard) -> Mapping[str, Path]:
    return fetch_wheels(
        wheels, spec=EnvSpec(python=f"{MINOR}.*", pip=Pip(index_url=url)), platform=find_host(),
        python_minor=MINOR, cache=cache, progress=heard, task="cpu",
    )  # fmt: skip
