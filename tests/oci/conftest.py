"""What the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from envbuild.kit.retry import Patience
from envbuild.oci.registry import Registry, RegistryOptions, open_registry
from envbuild.oci.store import Store
from tests.rig.disk import small_disk

__all__ = ["no_logins", "reach", "small_disk", "store"]

QUICK = Patience(delay=0.01, longest=0.05, read=0.4, connect=2)
"""As patient as usual in attempts, not in seconds."""

Open = Callable[..., Registry]


@pytest.fixture(autouse=True)
def no_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hide the logins of whoever runs the tests; return the folder that stands for them."""
    folder = tmp_path / "docker-config"
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def reach() -> Open:
    """Return a function that opens a registry with little patience."""

    def open_quickly(host: str, ca: Path | None = None, plain_http: bool | None = None) -> Registry:
        options = RegistryOptions(ca=ca, plain_http=plain_http, patience=QUICK)
        return open_registry(host, options=options)

    return open_quickly
