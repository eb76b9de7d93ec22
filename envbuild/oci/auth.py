"""Logins for registries, found where Docker and Podman keep them, with credential helpers.

Formats: `config.json` of the Docker client (`auths`, `credsStore`, `credHelpers`), the protocol of
docker-credential-helpers (`docker-credential-NAME get`, the server's URL on stdin), and
containers-auth.json(5).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from envbuild.errors import RegistryError
from envbuild.oci.reference import DOCKER_HUB

__all__ = ["Credential", "find_credential", "list_configs", "list_helpers"]

_HUB_KEY: Final = "https://index.docker.io/v1/"
"""Under this key Docker keeps the login of its own registry."""

_TOKEN_USER: Final = "<token>"  # noqa: S105 - says that the secret is an identity token
_HELPER_SECONDS: Final = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Credential:
    """A login; secrets are left out of its `repr`.

    Either `user` and `password`, or `identity_token` (an OAuth2 refresh token), or
    `registry_token` (a bearer token as it is).
    """

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


def list_configs() -> tuple[Path, ...]:
    """Return the files that may hold logins, the first to be asked first.

    They are Docker's config.json (below `DOCKER_CONFIG`, else in the home folder) and Podman's
    auth.json (`REGISTRY_AUTH_FILE`, else in the folder of this session and in that of settings).
    """
    named = os.environ.get("DOCKER_CONFIG")
    docker = Path(named).expanduser() if named else Path.home() / ".docker"
    own = os.environ.get("REGISTRY_AUTH_FILE")
    if own:
        return docker / "config.json", Path(own).expanduser()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    session = Path(runtime, "containers") if runtime else Path(f"/run/containers/{os.getuid()}")
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return (
        docker / "config.json",
        session / "auth.json",
        settings / "containers" / "auth.json",
    )


def find_credential(registry: str) -> Credential | None:
    """Return the login for `registry` (host with or without port); None if there is none.

    In each file a helper that is set for this host goes first, then the one for all, then
    `auths`. Raises `RegistryError` `registry.login-file` and `registry.login-helper`.
    """
    key = _HUB_KEY if registry == DOCKER_HUB else registry
    for path in list_configs():
        config = _load_config(path)
        helper = _find_helper(config, registry, key)
        found = _ask_helper(helper, key, registry, path) if helper else None
        # Podman's key for Docker's own registry is its name.
        found = found or _find_stored(config, key) or _find_stored(config, registry)
        if found is not None:
            return found
    return None


def list_helpers(path: Path) -> tuple[str, ...]:
    """Return the credential helpers that a file of logins names, without their common prefix.

    Raises `RegistryError` `registry.login-file`.
    """
    config = _load_config(path)
    own = config.get("credHelpers")
    named = [config.get("credsStore"), *(own.values() if isinstance(own, dict) else ())]
    return tuple(sorted({str(helper) for helper in named if helper}))


def _load_config(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        reason = "can't be read" if isinstance(error, OSError) else "is not JSON"
        raise _bad_file(path, reason) from error
    if not isinstance(value, dict):
        raise _bad_file(path, "is not a JSON object")
    return value


def _bad_file(path: Path, reason: str) -> RegistryError:
    return RegistryError(
        "registry.login-file",
        f"the file `{path}` holds the logins of registries, but it {reason}",
        hint="mend it or remove it; Docker's is below the folder that DOCKER_CONFIG names",
    )


def _find_helper(config: Mapping[str, Any], registry: str, key: str) -> str:
    helpers = config.get("credHelpers")
    own = helpers.get(registry) or helpers.get(key) if isinstance(helpers, dict) else None
    return str(own or config.get("credsStore") or "")


def _ask_helper(helper: str, key: str, registry: str, path: Path) -> Credential | None:
    program = f"docker-credential-{helper}"
    try:
        # Its output holds the secret: it is kept nowhere and shown nowhere.
        ended = subprocess.run(
            [program, "get"],
            input=key.encode(),
            capture_output=True,
            timeout=_HELPER_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise _bad_helper(program, registry, path, "is not installed") from None
    except (OSError, subprocess.TimeoutExpired):
        raise _bad_helper(program, registry, path, "can't be started or hangs") from None
    if ended.returncode != 0:
        if b"not found" in ended.stdout + ended.stderr:
            return None
        raise _bad_helper(program, registry, path, f"failed with exit code {ended.returncode}")
    try:
        answer = json.loads(ended.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise _bad_helper(program, registry, path, "gave an answer that is no login") from None
    if user == _TOKEN_USER:
        return Credential(identity_token=secret)
    return Credential(user=user, password=secret) if user or secret else None


def _bad_helper(program: str, registry: str, path: Path, reason: str) -> RegistryError:
    return RegistryError(
        "registry.login-helper",
        f"the login of `{registry}` is with `{program}`, which {reason}",
        hint=f"mend or remove `credsStore` or `credHelpers` in `{path}`",
    )


def _find_stored(config: Mapping[str, Any], key: str) -> Credential | None:
    auths = config.get("auths")
    if not isinstance(auths, dict):
        return None
    wanted = _simplify(key)
    exact = [auths[key]] if key in auths else []
    # Old clients wrote whole URLs; Docker still finds those by their host.
    alike = [entry for name, entry in auths.items() if _simplify(name) == wanted]
    for entry in [*exact, *alike]:
        found = _read_entry(entry) if isinstance(entry, dict) else None
        if found is not None:
            return found
    return None


def _simplify(key: str) -> str:
    return key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]


def _read_entry(entry: Mapping[str, Any]) -> Credential | None:
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    try:
        plain = base64.b64decode(str(entry.get("auth") or ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        plain = ""
    if plain:
        user, _, password = plain.strip("\0").partition(":")
    found = Credential(
        user=user,
        password=password,
        identity_token=str(entry.get("identitytoken") or ""),
        registry_token=str(entry.get("registrytoken") or ""),
    )
    return found if found != Credential() else None
