"""Channels behind a login: references go into the lock, their values go nowhere."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from envbuild.errors import EnvbuildError, LockError
from envbuild.kit.places import Cache
from envbuild.lock.channel import fetch_conda
from envbuild.lock.conda_file import check_no_secret
from envbuild.lock.conda_names import find_python_names
from envbuild.spec.settings import Settings
from tests.rig.conda_channel import CondaChannel, open_channel
from tests.rig.conda_server import serve_folder
from tests.rig.conda_solver import Notes, Solver, write_conda_by_name
from tests.rig.planted import watched_commands

USER, PASSWORD = "robot-7", "hush-hush-hush"


@pytest.fixture
def private(conda_channel: CondaChannel, tmp_path: Path) -> Iterator[CondaChannel]:
    copy = tmp_path / "private" / "team"
    with open_channel(conda_channel.folder, copy, credentials=(USER, PASSWORD)) as channel:
        yield channel


@pytest.fixture
def solver(cache: Cache, tmp_path: Path) -> Solver:
    return Solver(folder=tmp_path / "solver", settings=Settings())


def _written_anywhere(folder: Path, secret: str) -> list[str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return [p.name for p in files if secret.encode() in p.read_bytes()]


def test_references_stay_references(
    solver: Solver, private: CondaChannel, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As it is, in no URL's encoding.
    odd = f"{PASSWORD}@:/ 50%é"
    private.server.credentials = (USER, odd)
    monkeypatch.setenv("TEAM_USER", USER)
    monkeypatch.setenv("TEAM_KEY", odd)
    url = private.url.replace("://", "://${TEAM_USER}:${TEAM_KEY}@")
    solution = solver.lock("greet", channels=[url])
    assert all(p.url.startswith(f"{url}/") for p in solution.packages["linux-64"])
    assert PASSWORD.encode() not in solution.text
    assert USER.encode() not in solution.text
    names = find_python_names(
        solution.packages["linux-64"], settings=Settings(), cache=cache, logs=solver.logs
    )
    assert set(names) == {"greet", "greeting-words"}


def test_a_value_is_in_no_command_line_and_in_no_cache(
    solver: Solver,
    conda_channel: CondaChannel,
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    password = f"hush-{secrets.token_hex(8)}:/%"
    monkeypatch.setenv("TEAM_KEY", quote(password, safe=""))
    copy = tmp_path / "private" / "team"
    with (
        open_channel(conda_channel.folder, copy, credentials=(USER, password)) as channel,
        watched_commands() as commands,
    ):
        url = channel.url.replace("://", f"://{USER}:${{TEAM_KEY}}@")
        solution = solver.lock("greet", channels=[url])
    assert all(p.url.startswith(f"{url}/") for p in solution.packages["linux-64"])
    assert any(b"conda_front" in command for command in commands)
    for form in (password, quote(password, safe="")):
        assert not [command for command in commands if form.encode() in command]
        assert _written_anywhere(cache.root, form) == []
        assert _written_anywhere(solver.folder, form) == []


@pytest.mark.parametrize("with_token", [False, True])
def test_a_users_own_conda_gets_no_login_on_its_command_line(
    solver: Solver,
    conda_channel: CondaChannel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    with_token: bool,
) -> None:
    secret = f"hush-{secrets.token_hex(8)}" + ("" if with_token else "@:/%é")
    monkeypatch.setenv("TEAM_KEY", secret)
    folder = tmp_path / "web" / (f"t/{secret}/team" if with_token else "team")
    shutil.copytree(conda_channel.folder, folder)
    own = solver.with_conda(write_conda_by_name(tmp_path / "my-conda"))
    login = None if with_token else (USER, secret)
    with (
        serve_folder(tmp_path / "web", credentials=login) as server,
        watched_commands() as commands,
    ):
        url = f"{server.url}/t/${{TEAM_KEY}}/team"
        if not with_token:
            url = f"{server.url}/team".replace("://", f"://{USER}:${{TEAM_KEY}}@")
        solution = own.lock("greet", channels=[url])
        (tmp_path / "web").rename(tmp_path / "gone")
        with pytest.raises(LockError) as caught:
            own.lock("greet", channels=[url])
    assert all(p.url.startswith(f"{url}/") for p in solution.packages["linux-64"])
    assert url.encode() in solution.text
    assert caught.value.code == "lock.channel"
    assert any(b"my-conda" in command and b"--channel\0team" in command for command in commands)
    for form in (secret, quote(secret, safe="")):
        assert form not in str(caught.value)
        assert not [command for command in commands if form.encode() in command]
        assert _written_anywhere(solver.folder, form) == []


def test_a_token_in_the_path_is_in_no_command_line_and_in_no_cache(
    solver: Solver,
    conda_channel: CondaChannel,
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = f"hush-{secrets.token_hex(8)}"
    monkeypatch.setenv("TEAM_TOKEN", token)
    shutil.copytree(conda_channel.folder, tmp_path / "web" / "t" / token / "team")
    with serve_folder(tmp_path / "web") as server, watched_commands() as commands:
        url = f"{server.url}/t/${{TEAM_TOKEN}}/team"
        solution = solver.lock("greet", channels=[url])
    assert all(p.url.startswith(f"{url}/") for p in solution.packages["linux-64"])
    assert any(b"conda_front" in command for command in commands)
    assert not [command for command in commands if token.encode() in command]
    assert _written_anywhere(cache.root, token) == []
    assert _written_anywhere(solver.folder, token) == []


def test_a_user_that_is_written_out_stays_so(
    solver: Solver, private: CondaChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # conda-lock would take this machine's variable for the name.
    monkeypatch.setenv("USER", USER)
    monkeypatch.setenv("TEAM_KEY", PASSWORD)
    url = private.url.replace("://", f"://{USER}:${{TEAM_KEY}}@")
    solution = solver.lock("mdurl", channels=[url])
    assert all(p.url.startswith(f"{url}/") for p in solution.packages["linux-64"])
    assert b"${USER}" not in solution.text


def test_a_login_from_rattlers_own_file(
    solver: Solver, private: CondaChannel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = {"127.0.0.1": {"BasicHTTP": {"username": USER, "password": PASSWORD}}}
    (tmp_path / "login.json").write_text(json.dumps(login))
    monkeypatch.setenv("RATTLER_AUTH_FILE", str(tmp_path / "login.json"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    solution = solver.lock("mdurl", channels=[private.url])
    assert all(p.url.startswith(f"{private.url}/") for p in solution.packages["linux-64"])
    package = solution.packages["linux-64"][0]
    assert fetch_conda(
        package, settings=Settings(), cache=solver.cache, progress=Notes(), task="cpu"
    ).is_file()


def test_a_login_from_netrc(
    solver: Solver, private: CondaChannel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert solver.lock("mdurl", channels=[private.url]).packages["linux-64"]


def test_a_wrong_password_is_an_error_that_keeps_it(
    solver: Solver, private: CondaChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM_USER", USER)
    monkeypatch.setenv("TEAM_KEY", "mumble-mumble")
    url = private.url.replace("://", "://${TEAM_USER}:${TEAM_KEY}@")
    with pytest.raises(LockError, match="401 Unauthorized") as caught:
        solver.lock("mdurl", channels=[url])
    assert caught.value.code == "lock.channel"
    assert f"`{private.url}`" in caught.value.message
    assert "with the login in `TEAM_USER` and `TEAM_KEY`" in caught.value.message
    assert "export TEAM_KEY=..." in str(caught.value.hint)
    assert "mumble" not in str(caught.value)
    assert list(solver.logs.iterdir()) != []
    assert _written_anywhere(solver.folder, "mumble") == []


def test_a_channel_without_a_login_says_where_one_may_stand(
    solver: Solver, private: CondaChannel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(LockError, match="without a login") as caught:
        solver.lock("mdurl", channels=[private.url])
    assert "machine 127.0.0.1 login USER" in str(caught.value.hint)
    assert "RATTLER_AUTH_FILE" in str(caught.value.hint)


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set_is_named(
    solver: Solver, private: CondaChannel, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("NO_SUCH_KEY_ANYWHERE", value)
    url = private.url.replace("://", "://${NO_SUCH_KEY_ANYWHERE}@")
    with pytest.raises(EnvbuildError, match="`NO_SUCH_KEY_ANYWHERE`") as caught:
        solver.lock("mdurl", channels=[url])
    assert caught.value.code == "credential.unset"


def test_a_login_for_a_mirror_stays_out_of_the_lock(
    solver: Solver, private: CondaChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIRROR_KEY", PASSWORD)
    mirror = private.url.replace("://", f"://{USER}:${{MIRROR_KEY}}@")
    solver.settings = Settings(mirrors={private.canonical: (mirror,)})
    solution = solver.lock("mdurl")
    assert all(p.url.startswith(private.canonical) for p in solution.packages["linux-64"])
    assert PASSWORD.encode() not in solution.text


def test_a_mirror_that_is_no_web_address_is_refused(
    solver: Solver, conda_channel: CondaChannel
) -> None:
    mirror = conda_channel.folder.as_uri()
    solver.settings = Settings(mirrors={conda_channel.canonical: (mirror,)})
    with pytest.raises(LockError) as caught:
        solver.lock("mdurl")
    assert caught.value.code == "lock.mirror"


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@pkgs.example.com/team/noarch/a-1-0.conda",
        "https://secret@pkgs.example.com/team/noarch/a-1-0.conda",
        "https://pkgs.example.com/t/secret/team/noarch/a-1-0.conda",
        "https://${OTHER}@pkgs.example.com/team/noarch/a-1-0.conda",
    ],
)
def test_a_credential_that_the_spec_does_not_write_never_gets_in(url: str) -> None:
    with pytest.raises(LockError) as caught:
        check_no_secret(
            f"package:\n- url: {url}\n", ["conda-forge", "https://${KEY}@a.example.com/x"]
        )
    assert caught.value.code == "lock.secret"
    assert "secret@" not in str(caught.value)
    assert "/t/secret" not in str(caught.value)


@pytest.mark.parametrize(
    "channel",
    [
        "https://${KEY}@pkgs.example.com/team",
        "https://robot:${KEY}@pkgs.example.com/team",
        "https://pkgs.example.com/t/${KEY}/team",
        "https://pkgs.example.com/t/${KEY}",
        "https://pkgs.example.com/team",
    ],
)
def test_what_the_spec_writes_may_be_in_the_lock(channel: str) -> None:
    check_no_secret(f"package:\n- url: {channel}/noarch/a-1-0.conda\n", [channel])
