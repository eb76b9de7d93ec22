"""Certificates for one registry, found where Docker and Podman keep them.

Layout (Docker's "Verify repository client with certificates", and containers-certs.d(5)): in the
folder `certs.d/HOST` or `certs.d/HOST:PORT`, each `*.crt` is an authority, and `NAME.cert` with
`NAME.key` is the client's own certificate.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from envbuild.errors import RegistryError

__all__ = ["Certificates", "find_certificates"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificates:
    """PEM files for one registry: its authorities, and the client's certificate and key."""

    authorities: tuple[Path, ...] = ()
    client: tuple[Path, Path] | None = None


def find_certificates(host: str) -> Certificates:
    """Return what there is for `host` (with its port, as in references).

    The first folder that is there decides. Raises `RegistryError` `registry.client-key`.
    """
    for folder in _list_folders():
        found = folder / host
        if found.is_dir():
            return Certificates(
                authorities=tuple(sorted(found.glob("*.crt"))), client=_find_client(found)
            )
    return Certificates()


def _find_client(folder: Path) -> tuple[Path, Path] | None:
    for certificate in sorted(folder.glob("*.cert")):
        key = certificate.with_suffix(".key")
        if not key.is_file():
            raise RegistryError(
                "registry.client-key",
                f"the client certificate `{certificate}` has no key: there is no `{key.name}`",
                hint="put the key beside it, or name it `.crt` if it is an authority's certificate",
            )
        return certificate, key
    return None


def _list_folders() -> Iterator[Path]:
    """Yield where to look: Docker's places (without root first), then Podman's."""
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    yield config / "docker" / "certs.d"
    yield home / ".docker" / "certs.d"
    yield Path("/etc/docker/certs.d")
    yield config / "containers" / "certs.d"
    yield Path("/etc/containers/certs.d")
