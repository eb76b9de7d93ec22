"""How to reach a registry, as the repository's settings say."""

from __future__ import annotations

from pathlib import Path

from envbuild.oci.wire import RegistryOptions
from envbuild.spec.settings import Settings

__all__ = ["find_registry_options"]


def find_registry_options(settings: Settings, host: str) -> RegistryOptions:
    """Return the options for `host`; what the settings leave open is found out as Docker does."""
    own = settings.registries.get(host)
    if own is None:
        return RegistryOptions()
    return RegistryOptions(ca=Path(own.ca) if own.ca else None, plain_http=own.plain_http)
