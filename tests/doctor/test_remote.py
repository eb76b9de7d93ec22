"""Checks that ask others: each with the real thing, when it is up and when it isn't."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from envbuild.doctor.archives import check_archives
from envbuild.doctor.channels import check_channels
from envbuild.doctor.clock import check_clock
from envbuild.doctor.engine import check_engine
from envbuild.doctor.indexes import check_indexes
from envbuild.doctor.registry import check_registries
from envbuild.engine.client import Engine
from tests.doctor.conftest import Patient
from tests.rig.conda_channel import CondaChannel
from tests.rig.debian_archive import DebianRig
from tests.rig.pip_index import PipIndex
from tests.rig.registry import LockedRegistry, RunningRegistry, start_registry
from tests.rig.scripted import ScriptedServer, hang

SPEC = 'python = "3.11.*"\n'


def settle(patient: Patient, **settings: object) -> None:
    lines = [f"{k.replace('_', '-')} = {json.dumps(v)}" for k, v in settings.items()]
    patient.write("pyproject.toml", "[tool.envbuild]\n" + "\n".join(lines) + "\n")


@pytest.mark.registry
def test_registry_that_lets_us_push(patient: Patient, registry: RunningRegistry) -> None:
    settle(patient, repository=f"{registry.host}/team")
    patient.write("cpu", SPEC)
    (found,) = patient.see(check_registries)
    assert (found.state, found.message) == ("ok", "is allowed, without a login")
    opened = registry.root.rglob("team/cpu/_uploads/*/startedat")
    assert list(opened) == [], "the upload that was opened is dropped again"


@pytest.mark.registry
def test_registry_that_is_down(patient: Patient, tmp_path: Path) -> None:
    with start_registry(tmp_path) as host:
        settle(patient, repository=f"{host}/team")
        assert patient.ills(check_registries) == []
    found = patient.ill(check_registries)
    assert found.state == "problem"
    assert "it refused the connection" in found.message


@pytest.fixture
def locked_out(patient: Patient, registry_auth: LockedRegistry) -> Patient:
    """A repository whose registry wants a login."""
    shutil.copy(registry_auth.ca, patient.root / "ca.pem")
    table = f'[tool.envbuild.registries."{registry_auth.host}"]\nca = "ca.pem"\n'
    own = f'[tool.envbuild]\nrepository = "{registry_auth.host}/team"\n'
    patient.write("pyproject.toml", own + table)
    return patient


@pytest.mark.registry
def test_registry_without_a_login(locked_out: Patient) -> None:
    found = locked_out.ill(check_registries)
    assert found.state == "problem"
    assert "docker login" in (found.hint or "")


@pytest.mark.registry
def test_registry_by_login(
    locked_out: Patient, registry_auth: LockedRegistry, no_logins: Path
) -> None:
    registry_auth.write_login(no_logins)
    (found,) = locked_out.see(check_registries)
    assert (found.state, found.message) == ("ok", "is allowed, as `ada`")
    assert registry_auth.password not in str(found)


@pytest.mark.registry
def test_registry_with_a_wrong_password(
    locked_out: Patient, registry_auth: LockedRegistry, no_logins: Path
) -> None:
    replace(registry_auth, password="wrong-secret").write_login(no_logins)
    found = locked_out.ill(check_registries)
    assert "does not let the login that is stored for it" in found.message
    assert "wrong-secret" not in str(found)


def test_server_that_is_no_registry(patient: Patient, pip_index: PipIndex) -> None:
    settle(patient, repository=f"127.0.0.1:{pip_index.port}/team")
    assert "not as a container registry" in patient.ill(check_registries).message


@pytest.mark.registry
def test_base_that_is_gone(patient: Patient, registry: RunningRegistry) -> None:
    base = f"{registry.host}/no/such:1"
    image = f'[image]\nbase = "{base}"\ninterpreter = "/usr/bin/python3"\n'
    patient.write("cpu", f'python = "3.11"\n{image}')
    found = patient.ill(check_registries)
    assert (found.subject, found.state) == (f"base `{base}`", "warning")


def test_no_registry_is_not_a_fault(patient: Patient) -> None:
    (found,) = patient.see(check_registries)
    assert found.state == "ok"
    assert "ENVBUILD_REPOSITORY" in (found.hint or "")


def index_spec(url: str) -> str:
    return f'{SPEC}[pip]\ndependencies = ["acme"]\nindex-url = "{url}"\n'


def test_index_up_locked_broken_and_down(
    patient: Patient, pip_index: PipIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient.write("cpu", index_spec(pip_index.url))
    assert patient.ills(check_indexes) == []
    pip_index.login = ("ada", "pw-of-ada")
    assert "refuses the login" in patient.ill(check_indexes).message
    monkeypatch.setenv("PW", "pw-of-ada")
    patient.write("cpu", index_spec(pip_index.url_with("ada:${PW}")))
    assert patient.ills(check_indexes) == []
    monkeypatch.setenv("PW", "wrong-secret")
    found = patient.ill(check_indexes)
    assert "refuses the login" in found.message
    assert "wrong-secret" not in str(found)
    pip_index.broken = 503
    assert "answered 503" in patient.ill(check_indexes).message
    pip_index.close()
    assert "it refused the connection" in patient.ill(check_indexes).message


def test_index_that_is_silent_takes_no_longer_than_allowed(patient: Patient) -> None:
    with ScriptedServer().running() as server:
        server.script("GET", ".*", hang, forever=True)
        patient.write("cpu", index_spec(f"{server.url}/simple"))
        assert "stopped answering" in patient.ill(check_indexes).message


def test_clock(patient: Patient, pip_index: PipIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    patient.write("cpu", index_spec(pip_index.url))
    (found,) = patient.see(check_clock)
    assert found.message == "is right"
    past = "Fri, 01 Jan 2021 00:00:00 GMT"
    monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", lambda *_: past)
    assert "timedatectl" in (patient.ill(check_clock).hint or "")


def test_archive(
    patient: Patient, debian_archive: DebianRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient.write("cpu", f'{SPEC}[image]\nbase = "debian:bookworm"\n')
    assert patient.ill(check_archives).state == "problem", "nothing is published"
    debian_archive.add("hello")
    debian_archive.publish()
    (found,) = patient.see(check_archives)
    assert found.message == "has `bookworm`, well signed"
    release = debian_archive.folder / "dists/bookworm/InRelease"
    release.write_bytes(release.read_bytes().replace(b"bookworm", b"bookwurm"))
    found = patient.ill(check_archives)
    assert "signature" in found.message
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "apt-config").symlink_to(shutil.which("apt-config") or "")
    monkeypatch.setenv("PATH", str(bin_folder))
    assert "gpgv" in (patient.ill(check_archives).hint or "")


def test_suite_that_no_archive_has(patient: Patient, debian_archive: DebianRig) -> None:
    patient.write("cpu", 'python = "3.13"\n[image]\nbase = "debian:trixie"\n')
    found = patient.ill(check_archives)
    assert found.subject == "suite `trixie`"
    assert "debian-archives" in (found.hint or "")


def test_channel(patient: Patient, conda_channel: CondaChannel) -> None:
    settle(patient)
    mirrors = {k: list(v) for k, v in conda_channel.mirrors.items()}
    table = "".join(f"{json.dumps(k)} = {json.dumps(v)}\n" for k, v in mirrors.items())
    patient.write("pyproject.toml", f"[tool.envbuild.mirrors]\n{table}")
    patient.write("cpu", f'{SPEC}[conda]\ndependencies = ["numpy"]\n')
    (found,) = patient.see(check_channels)
    assert found.state == "ok"
    assert conda_channel.url.rstrip("/") in found.message
    patient.write(
        "cpu", f'platforms = ["win-64"]\n{SPEC}[conda]\nchannels = ["{conda_channel.url}"]'
    )
    assert "no index for `win-64`" in patient.ill(check_channels).message
    gone = patient.root / "no-channel"
    patient.write("cpu", f'{SPEC}[conda]\nchannels = ["file://{gone}"]')
    assert patient.ill(check_channels).state == "problem"


SERVES = f'{SPEC}[smoke]\nentry-script = "score.py"\n'


def test_engine_that_is_not_there(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    patient.write("cpu", SPEC)
    assert patient.ill(check_engine).state == "warning"
    patient.write("web", SERVES)
    found = patient.ill(check_engine)
    assert found.state == "problem"
    assert "`web` can't do without" in found.message


@pytest.mark.engine
def test_engine_that_is_there(patient: Patient, engine: Engine) -> None:
    patient.write("web", SERVES)
    first, *others = patient.see(check_engine)
    assert first.state == "ok"
    assert engine.version in first.message
    assert f"storage {engine.client.info()['Driver']}" in first.message
    assert any(f.subject == "limits" for f in others)
    table = '[train]\nscript = "train.py"\nresources = { gpus = 1 }\n'
    patient.write("gpu", SPEC + table)
    has = "nvidia" in engine.client.info()["Runtimes"]
    assert any(f.subject == "GPUs" for f in patient.ills(check_engine)) is not has
