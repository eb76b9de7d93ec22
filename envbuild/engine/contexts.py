"""Reads docker's contexts as its command line does: which is in use, and where its engine is.

Format: `contexts/meta/ID/meta.json` and `contexts/tls/ID/docker/*.pem` below docker's configuration
folder, ID being the SHA-256 of the context's name. The SDK finds them only beside a `config.json`,
which docker needs none of.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envbuild.errors import EngineError

__all__ = ["DockerContext", "find_context_name", "load_context"]

_HINT = "list the contexts with `docker context ls`, choose one with `docker context use`"


@dataclass(frozen=True, kw_only=True, slots=True)
class DockerContext:
    """A context's engine: its address, and the TLS files that there are."""

    host: str
    ca: Path | None
    certificate: Path | None
    key: Path | None
    verify: bool


def _find_folder() -> Path:
    named = os.environ.get("DOCKER_CONFIG")
    return Path(named) if named else Path.home() / ".docker"


def find_context_name() -> str:
    """Return the context in use: `DOCKER_CONTEXT`, else the one of `config.json`, else ""."""
    if name := os.environ.get("DOCKER_CONTEXT"):
        return name
    try:
        value = json.loads((_find_folder() / "config.json").read_bytes())
    except (OSError, ValueError):
        return ""
    return str(value.get("currentContext") or "") if isinstance(value, dict) else ""


def load_context(name: str) -> DockerContext:
    """Return the context of this name.

    Raises `EngineError` `engine.context` for one that doesn't exist or can't be read.
    """
    identifier = hashlib.sha256(name.encode()).hexdigest()
    folder = _find_folder() / "contexts"
    try:
        meta: Any = json.loads((folder / "meta" / identifier / "meta.json").read_bytes())
        endpoint = meta["Endpoints"]["docker"]
        host, skip = str(endpoint.get("Host") or ""), bool(endpoint.get("SkipTLSVerify"))
    except (FileNotFoundError, NotADirectoryError, KeyError):
        host, skip = "", False
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise EngineError(
            "engine.context", f"docker context `{name}` can't be read: {error}", hint=_HINT
        ) from error
    if not host:
        raise EngineError(
            "engine.context",
            f"docker context `{name}` doesn't exist or names no engine",
            hint=_HINT,
        )
    tls = {path.name: path for path in (folder / "tls" / identifier / "docker").glob("*.pem")}
    return DockerContext(
        host=host,
        ca=tls.get("ca.pem"),
        certificate=tls.get("cert.pem"),
        key=tls.get("key.pem"),
        verify=not skip,
    )
