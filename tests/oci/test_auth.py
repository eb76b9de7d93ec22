"""Promises of `oci.auth`: logins are found where Docker keeps them, and shown nowhere."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from envbuild.errors import RegistryError
from envbuild.oci.auth import Credential, find_credential

HOST = "registry.example.com:5000"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of Docker's settings, with helpers on `PATH` below it."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path


def write(folder: Path, **config: object) -> None:
    (folder / "config.json").write_text(json.dumps(config))


def encode(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def add_helper(folder: Path, name: str, script: str) -> None:
    path = folder / "bin" / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_without_settings_there_is_no_login(folder: Path) -> None:
    assert find_credential(HOST) is None


def test_the_home_folder_is_looked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".docker").mkdir()
    write(tmp_path / ".docker", auths={HOST: {"auth": encode("ada", "pw")}})
    assert find_credential(HOST) == Credential(user="ada", password="pw")


def test_a_password_may_have_colons(folder: Path) -> None:
    write(folder, auths={HOST: {"auth": encode("ada", "a:b:c")}})
    assert find_credential(HOST) == Credential(user="ada", password="a:b:c")


@pytest.mark.parametrize("key", [f"https://{HOST}", f"https://{HOST}/v1/", f"http://{HOST}/v2/"])
def test_a_login_of_an_old_client_is_found(folder: Path, key: str) -> None:
    write(folder, auths={key: {"auth": encode("ada", "pw")}})
    assert find_credential(HOST) == Credential(user="ada", password="pw")


def test_another_hosts_login_is_not_taken(folder: Path) -> None:
    write(folder, auths={"registry.example.com": {"auth": encode("ada", "pw")}})
    assert find_credential(HOST) is None


def test_dockers_own_registry_has_a_key_of_its_own(folder: Path) -> None:
    write(folder, auths={"https://index.docker.io/v1/": {"auth": encode("ada", "pw")}})
    assert find_credential("docker.io") == Credential(user="ada", password="pw")


def test_an_identity_token_is_taken(folder: Path) -> None:
    auth = encode("00000000-0000-0000-0000-000000000000", "")
    write(folder, auths={HOST: {"auth": auth, "identitytoken": "tk"}})
    found = find_credential(HOST)
    assert found is not None
    assert found.identity_token == "tk"


@pytest.mark.parametrize("entry", [{}, {"auth": ""}, {"auth": "%%%"}, "x", None])
def test_an_entry_without_a_login_is_none(folder: Path, entry: object) -> None:
    write(folder, auths={HOST: entry})
    assert find_credential(HOST) is None


def test_a_helper_is_asked_by_dockers_protocol(folder: Path) -> None:
    add_helper(
        folder,
        "vault",
        'test "$1" = get || exit 9\nread -r url\n'
        'echo "{\\"ServerURL\\":\\"$url\\",\\"Username\\":\\"ada\\",\\"Secret\\":\\"at $url\\"}"',
    )
    write(folder, credsStore="vault", auths={HOST: {}})
    assert find_credential(HOST) == Credential(user="ada", password=f"at {HOST}")
    hub = find_credential("docker.io")
    assert hub is not None
    assert hub.password == "at https://index.docker.io/v1/"


def test_a_helper_of_this_host_goes_first(folder: Path) -> None:
    add_helper(folder, "own", 'echo \'{"Username":"own","Secret":"s"}\'')
    add_helper(folder, "all", 'echo \'{"Username":"all","Secret":"s"}\'')
    write(folder, credsStore="all", credHelpers={HOST: "own"})
    found = [find_credential(host) for host in (HOST, "other.example.com")]
    assert [c.user for c in found if c] == ["own", "all"]


def test_a_helpers_identity_token_is_known_by_its_user(folder: Path) -> None:
    add_helper(folder, "vault", 'echo \'{"Username":"<token>","Secret":"tk"}\'')
    write(folder, credsStore="vault")
    assert find_credential(HOST) == Credential(identity_token="tk")


def test_a_helper_that_knows_nothing_leaves_it_to_the_file(folder: Path) -> None:
    add_helper(folder, "vault", "echo 'credentials not found in native keychain'; exit 1")
    write(folder, credsStore="vault", auths={HOST: {"auth": encode("ada", "pw")}})
    assert find_credential(HOST) == Credential(user="ada", password="pw")


@pytest.mark.parametrize(
    "script", ["echo broken s3cret; exit 3", "echo s3cret", 'echo \'{"Secret":"s3cret"}\'', None]
)
def test_a_broken_helper_is_named_without_what_it_said(folder: Path, script: str | None) -> None:
    if script:
        add_helper(folder, "vault", script)
    write(folder, credsStore="vault")
    with pytest.raises(RegistryError, match="docker-credential-vault") as caught:
        find_credential(HOST)
    assert caught.value.code == "registry.login-helper"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_broken_settings_are_named(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(RegistryError, match=r"config\.json") as caught:
        find_credential(HOST)
    assert caught.value.code == "registry.login-file"


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Podman's files by the variable that leads to each; none is there yet."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "set"))
    files = {
        "XDG_RUNTIME_DIR": tmp_path / "run" / "containers" / "auth.json",
        "XDG_CONFIG_HOME": tmp_path / "set" / "containers" / "auth.json",
    }
    for file in files.values():
        file.parent.mkdir(parents=True)
    return files


def log_in(file: Path, user: str, host: str = HOST) -> None:
    file.write_text(json.dumps({"auths": {host: {"auth": encode(user, "pw")}}}))


def test_podmans_logins_come_after_dockers(folder: Path, podman: dict[str, Path]) -> None:
    def user() -> str:
        found = find_credential(HOST)
        return found.user if found else ""

    log_in(podman["XDG_CONFIG_HOME"], "settings")
    assert user() == "settings"
    log_in(podman["XDG_RUNTIME_DIR"], "session")
    assert user() == "session"
    write(folder, auths={"other.example.com": {"auth": encode("ada", "pw")}})
    assert user() == "session"
    write(folder, auths={HOST: {"auth": encode("ada", "pw")}})
    assert user() == "ada"


def test_podmans_file_may_be_named(
    folder: Path, podman: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log_in(podman["XDG_RUNTIME_DIR"], "session")
    log_in(tmp_path / "named.json", "named", "docker.io")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "named.json"))
    assert find_credential(HOST) is None
    # Podman's key for Docker's own registry is its name.
    assert find_credential("docker.io") == Credential(user="named", password="pw")


def test_podmans_login_for_a_part_of_a_registry_is_found(
    folder: Path, podman: dict[str, Path]
) -> None:
    log_in(podman["XDG_RUNTIME_DIR"], "team", f"{HOST}/team")
    assert find_credential(HOST) == Credential(user="team", password="pw")


def test_podmans_broken_file_is_named(folder: Path, podman: dict[str, Path]) -> None:
    podman["XDG_RUNTIME_DIR"].write_text("{")
    with pytest.raises(RegistryError, match=r"run/containers/auth\.json") as caught:
        find_credential(HOST)
    assert caught.value.code == "registry.login-file"


def test_a_secret_is_not_in_the_repr() -> None:
    login = Credential(user="ada", password="s3c", identity_token="s3c", registry_token="s3c")
    assert "s3c" not in repr(login)
