"""Checks that ask nobody else: repository, tools, Pythons, disk, credentials; well and ill."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuild.doctor.credentials import check_credentials
from envbuild.doctor.disk import check_disk
from envbuild.doctor.pythons import check_pythons
from envbuild.doctor.repository import check_repository
from envbuild.doctor.tools import check_tools
from envbuild.lock.files import write_lock
from envbuild.spec.load import load_spec
from envbuild.spec.platforms import find_host_platform
from envbuild.start.begin import begin
from tests.doctor.conftest import Patient
from tests.rig.locks import FILES, make_lock, make_platform

SPEC = 'python = "3.11.*"\n'
CONDA = f'{SPEC}[conda]\ndependencies = ["numpy"]\n[image]\nbase = "scratch"\n'


def lock(patient: Patient, name: str, **platform: object) -> None:
    """Write a lock as if it had been made."""
    spec = load_spec(patient.root / f"envs/{name}.toml")
    parts = {p: make_platform(p, wheels=(), debian=(), **platform) for p in spec.platforms}
    folder = patient.root / "lockfiles" / name
    write_lock(folder, make_lock(spec, platforms=parts), name=name, files=FILES)


def begin_well(patient: Patient) -> None:
    subprocess.run(["git", "init", "-q"], cwd=patient.root, check=True)
    patient.write("cpu", CONDA)
    lock(patient, "cpu")
    begin(patient.root, name="cpu", kind="minimal")
    patient.write(".pre-commit-config.yaml", "repos: [{repo: envbuild}]\n")
    patient.write(".git/hooks/pre-commit", "#!/bin/sh\n")


def test_repository_that_is_well(patient: Patient) -> None:
    begin_well(patient)
    assert patient.ills(check_repository) == []
    assert len(patient.see(check_repository)) == 5


@pytest.mark.parametrize(
    ("spoil", "subject", "hint"),
    [
        (lambda p: (p / "noxfile.py").unlink(), "noxfile.py", "envbuild init"),
        (
            lambda p: (p / "noxfile.py").write_text("import nox\n"),
            "noxfile.py",
            "envbuild.register",
        ),
        (lambda p: (p / ".gitignore").unlink(), ".envbuild", "echo .envbuild/ >> .gitignore"),
        (lambda p: (p / "envs/envbuild.schema.json").write_text("{}"), "schema", "envbuild init"),
        (lambda p: (p / ".git/hooks/pre-commit").unlink(), "pre-commit", "pre-commit install"),
        (lambda p: (p / "lockfiles/cpu/envbuild.lock").unlink(), "cpu", "nox -s lock -- cpu"),
        (
            lambda p: (p / "envs/cpu.toml").write_text(CONDA.replace("numpy", "scipy")),
            "cpu",
            "nox -s lock -- cpu",
        ),
        (
            lambda p: (p / "pyproject.toml").write_text('[tool.envbuild]\ndefault-environment="x"'),
            "pyproject.toml",
            "nox -s scaffold -- x",
        ),
    ],
)
def test_repository_that_is_ill(
    patient: Patient, spoil: Callable[[Path], object], subject: str, hint: str
) -> None:
    begin_well(patient)
    spoil(patient.root)
    found = patient.ill(check_repository)
    assert subject in found.subject
    assert hint in (found.hint or "")


def test_spec_and_settings_that_are_wrong_are_told_with_all_problems(patient: Patient) -> None:
    begin_well(patient)
    patient.write("cpu", "python = 3.11\nunknown = 1\n")
    patient.write("pyproject.toml", "[tool.envbuild]\nrepositary = 1\n")
    found = list(check_repository(patient.visit()))
    said = [f.message for f in found if f.state == "problem"]
    assert len(said) == 2
    assert "repositary" in said[0]
    assert "`python`" in said[1]
    assert "unknown" in said[1]


def test_tools_that_are_here_say_their_versions(patient: Patient) -> None:
    patient.write("cpu", f'{SPEC}[image]\nbase = "debian:bookworm"\n')
    found = {f.subject: f.message for f in patient.see(check_tools)}
    assert found["git"].startswith("git version")
    assert "gpgv" in found["gpgv"]
    assert found["conda-lock"][0].isdigit()


def test_tools_that_are_missing_say_who_needs_them(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient.write("cpu", f'{SPEC}[image]\nbase = "debian:bookworm"\n')
    patient.write("pyproject.toml", '[tool.envbuild]\nconda = "micromamba"\n')
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {f.subject: f for f in patient.ills(check_tools)}
    assert set(found) == {"git", "gpgv", "micromamba"}
    assert found["gpgv"].state == "problem"
    assert "`cpu`" in found["gpgv"].message
    assert found["gpgv"].hint == "to install it, run `apt-get install gpgv`"
    assert found["git"].state == "warning", "no environment has anything of git"


def test_python_that_resolves(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    spec = '[pip]\ndependencies = ["httpx"]\n[conda]\n'
    platforms = 'platforms = ["linux-64", "linux-aarch64"]\n'
    patient.write("here", f'{platforms}python = "3.11.*"\n{spec}')
    assert patient.ills(check_pythons) == []
    patient.write("there", f'{platforms}python = "3.9.*"\n{spec}')
    assert "resolved by uv" in patient.ill(check_pythons).message


def test_python_that_compiles(patient: Patient) -> None:
    here = find_host_platform()
    away = "linux-aarch64" if here and here.subdir == "linux-64" else "linux-64"
    both = f'platforms = ["linux-64", "linux-aarch64"]\n{CONDA}'
    patient.write("cpu", both)
    lock(patient, "cpu", python="3.11.99")
    assert patient.ills(check_pythons) == [], "conda brings it for this machine, too"
    patient.write("cpu", f'platforms = ["{away}"]\n{CONDA}')
    lock(patient, "cpu", python="3.11.99")
    found = patient.ill(check_pythons)
    assert found.subject == "Python 3.11.99"
    assert "uv python install 3.11.99" in (found.hint or "")
    assert found.state == "problem"


def test_disk_with_room(patient: Patient) -> None:
    patient.visit().workspace.cache.root.mkdir()
    found = patient.see(check_disk)
    assert [f.subject for f in found] == ["cache", "cache", "temporary files"]
    assert "holds 0.0 MB in 0 files" in found[1].message


def test_disk_that_is_full(
    patient: Patient, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVBUILD_CACHE", str(small_disk / "cache"))
    tight = next(f for f in patient.see(check_disk) if f.subject == "cache")
    assert tight.state == "problem"
    assert "(tmpfs) has 0.1 MB free" in tight.message
    (small_disk / "filler").write_bytes(bytes(64 << 10))
    full = next(f for f in patient.see(check_disk) if f.subject == "cache")
    assert "no space left on device" in full.message
    assert "ENVBUILD_CACHE" in (full.hint or "")


def test_cache_that_is_no_folder(
    patient: Patient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ENVBUILD_CACHE", str(tmp_path / "file"))
    found = next(f for f in patient.see(check_disk) if f.subject == "cache")
    assert "can't be written: not a directory" in found.message


def test_variables(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://${ACME_TOKEN}@pkgs.example.com/simple"
    patient.write("cpu", f'{SPEC}[pip]\nextra-index-urls = ["{url}"]\n')
    monkeypatch.delenv("ACME_TOKEN", raising=False)
    found = patient.ill(check_credentials)
    assert found.subject == "${ACME_TOKEN}"
    assert "`envs/cpu.toml`" in found.message
    assert found.hint == "to set it for this shell, run `export ACME_TOKEN=...`"
    monkeypatch.setenv("ACME_TOKEN", "s3cret-value")
    assert "s3cret-value" not in str(patient.see(check_credentials))
    assert patient.ills(check_credentials) == []


def test_helpers_of_logins(
    patient: Patient, no_logins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_logins.mkdir()
    (no_logins / "config.json").write_text(json.dumps({"credsStore": "vault"}))
    assert patient.ill(check_credentials).subject == "docker-credential-vault"
    program = tmp_path / "docker-credential-vault"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert patient.ills(check_credentials) == []
    (no_logins / "config.json").write_text("{")
    assert "is not JSON" in patient.ill(check_credentials).message


def test_netrc(patient: Patient, tmp_path: Path) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine x login ada password pw-of-ada\n")
    file.chmod(0o644)
    assert f"chmod 600 {file}" in (patient.ill(check_credentials).hint or "")
    file.chmod(0o600)
    assert patient.ills(check_credentials) == []
    file.write_text("machine\n")
    assert "can't be read" in patient.ill(check_credentials).message
