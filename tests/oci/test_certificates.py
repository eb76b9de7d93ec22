"""Promises of `oci.certificates`: certificates are found where Docker and Podman keep them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuild.errors import EnvbuildError, RegistryError
from envbuild.oci.certificates import Certificates, find_certificates
from tests.oci.conftest import Open
from tests.rig.registry import ClientRegistry, start_client_registry

HOST = "registry.example.com:5000"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def put(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name.replace("_", ".")).write_bytes(data)
    return folder


def test_without_a_folder_there_is_nothing(home: Path) -> None:
    assert find_certificates(HOST) == Certificates()


@pytest.mark.parametrize(
    "place", [".config/docker/certs.d", ".docker/certs.d", ".config/containers/certs.d"]
)
def test_all_of_a_folder_is_found(home: Path, place: str) -> None:
    folder = put(home / place / HOST, b_crt=b"", a_crt=b"", client_cert=b"", client_key=b"")
    put(home / place / "other.example.com", x_crt=b"")
    assert find_certificates(HOST) == Certificates(
        authorities=(folder / "a.crt", folder / "b.crt"),
        client=(folder / "client.cert", folder / "client.key"),
    )


def test_a_port_is_part_of_the_name(home: Path) -> None:
    put(home / ".docker/certs.d/registry.example.com", a_crt=b"")
    assert find_certificates(HOST) == Certificates()


def test_dockers_folder_goes_before_podmans(home: Path) -> None:
    docker = put(home / ".docker/certs.d" / HOST, a_crt=b"")
    put(home / ".config/containers/certs.d" / HOST, b_crt=b"")
    assert find_certificates(HOST).authorities == (docker / "a.crt",)


def test_a_certificate_without_its_key_is_named(home: Path) -> None:
    put(home / ".docker/certs.d" / HOST, client_cert=b"", other_key=b"")
    with pytest.raises(RegistryError, match=r"client\.cert.*client\.key") as caught:
        find_certificates(HOST)
    assert caught.value.code == "registry.client-key"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientRegistry]:
    with start_client_registry(tmp_path_factory.mktemp("client-registry")) as running:
        yield running


def install(locked: ClientRegistry, home: Path, *, client: bool) -> Path:
    folder = put(home / ".docker/certs.d" / locked.host, ca_crt=locked.ca.read_bytes())
    if client:
        (folder / "client.cert").write_bytes(locked.certificate.read_bytes())
        (folder / "client.key").write_bytes(locked.key.read_bytes())
    return folder


@pytest.mark.registry
def test_a_registry_that_wants_a_certificate_is_shown_it(
    locked: ClientRegistry, home: Path, reach: Open
) -> None:
    install(locked, home, client=True)
    assert reach(locked.host).find_manifest("a", "1") is None


@pytest.mark.registry
def test_a_registry_that_is_shown_no_certificate_refuses(
    locked: ClientRegistry, home: Path, reach: Open
) -> None:
    install(locked, home, client=False)
    with pytest.raises(RegistryError, match="wants a client certificate") as caught:
        reach(locked.host).find_manifest("a", "1")
    assert caught.value.code == "registry.tls"
    assert f"certs.d/{locked.host}" in str(caught.value.hint)


@pytest.mark.registry
def test_a_key_of_another_certificate_is_named(
    locked: ClientRegistry, home: Path, reach: Open
) -> None:
    folder = install(locked, home, client=True)
    (folder / "client.cert").write_bytes(locked.ca.read_bytes())
    with pytest.raises(EnvbuildError, match=r"client\.cert") as caught:
        reach(locked.host).find_manifest("a", "1")
    assert caught.value.code == "tls.client"
