"""Credentials: are the files, helpers and variables there that the repository relies on?"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envbuild.doctor.finding import Finding, Visit, describe, say_names
from envbuild.errors import RegistryError
from envbuild.oci.auth import list_configs, list_helpers

__all__ = ["check_credentials"]

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def check_credentials(visit: Visit) -> Iterator[Finding]:
    """Look at files of logins, their helpers, and variables; no value of any is read out."""
    yield from _check_variables(visit)
    for path in (p for p in list_configs() if p.exists()):
        yield from _check_config(path)
    yield from _check_netrc()


def _check_variables(visit: Visit) -> Iterator[Finding]:
    users: dict[str, list[str]] = {}
    for name, spec in visit.specs.items():
        channels = spec.conda.channels if spec.conda else ()
        texts = (spec.pip.index_url or "", *spec.pip.extra_index_urls, *spec.pip.dependencies)
        for variable in _find_variables(*texts, *channels):
            users.setdefault(variable, []).append(f"envs/{name}.toml")
        for variable in spec.image.build_secrets.values():
            users.setdefault(variable, []).append(f"envs/{name}.toml")
    mirrors = visit.settings.mirrors.values()
    for variable in _find_variables(*(url for urls in mirrors for url in urls)):
        users.setdefault(variable, []).append("pyproject.toml")
    for variable, files in sorted(users.items()):
        where = say_names(list(dict.fromkeys(files)))
        if os.environ.get(variable) is None:
            yield Finding(
                subject=f"${{{variable}}}",
                state="problem",
                message=f"is not set, and {where} refers to it",
                hint=f"to set it for this shell, run `export {variable}=...`",
            )
        else:
            yield Finding(subject=f"${{{variable}}}", message=f"is set, for {where}")


def _find_variables(*texts: str) -> list[str]:
    return sorted({name for text in texts for name in _REFERENCE.findall(text)})


def _check_config(path: Path) -> Iterator[Finding]:
    try:
        helpers = list_helpers(path)
    except RegistryError as error:
        yield describe(f"`{path}`", error)
        return
    yield Finding(subject=f"`{path}`", message="can be read")
    for helper in helpers:
        program = f"docker-credential-{helper}"
        if shutil.which(program) is None:
            yield Finding(
                subject=program,
                state="problem",
                message=f"is not installed, and `{path}` says that it keeps logins",
                hint=f"install it, or take it out of `{path}` and run `docker login` again",
            )
        else:
            yield Finding(subject=program, message=f"is there, for logins of `{path}`")


def _check_netrc() -> Iterator[Finding]:
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    import netrc

    try:
        netrc.netrc(path)
    except (OSError, netrc.NetrcParseError):
        yield Finding(
            subject=f"`{path}`", state="problem", message="can't be read; its logins don't count",
            hint="a line has the form `machine HOST login USER password PASSWORD`",
        )  # fmt: skip
        return
    if mode & 0o077:
        yield Finding(
            subject=f"`{path}`", state="warning",
            message="has passwords, and others on this machine may read it",
            hint=f"run `chmod 600 {path}`",
        )  # fmt: skip
    else:
        yield Finding(subject=f"`{path}`", message="can be read by its owner alone")
