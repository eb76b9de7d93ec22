"""The variables of a run: those of `[env]`, with what `${VAR}` stands for on this machine."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from envbuild.errors import RunError

__all__ = ["expand_variables", "make_prefix_environment", "read_variables"]

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def expand_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return `variables` with each `${VAR}` replaced by the value of this machine's variable.

    Called at the last moment, and what it returns goes to the script or the service alone: plans,
    records and digests have the references. Raises `RunError` `run.variable` for one that isn't
    set, or empty: a CI system gives an empty one for a secret that it doesn't have.
    """
    for name, text in variables.items():
        for wanted in _REFERENCE.findall(text):
            if not os.environ.get(wanted):
                raise RunError(
                    "run.variable",
                    f"`env.{name}` refers to the environment variable `{wanted}`, which is "
                    f"{'empty' if wanted in os.environ else 'not set'}",
                    hint=f"to set it for this shell, run `export {wanted}=...`",
                )
    return {
        name: _REFERENCE.sub(lambda found: os.environ[found[1]], text)
        for name, text in variables.items()
    }


def read_variables(arguments: Iterable[str]) -> dict[str, str]:
    """Return the variables of arguments `NAME=JSON`, as a kernelspec has them."""
    parts = (argument.partition("=") for argument in arguments)
    return {name: str(json.loads(value)) for name, _, value in parts}


def make_prefix_environment(prefix: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment for the Python of `prefix`, with `variables` expanded.

    What leads Python elsewhere is left out. Raises what `expand_variables` raises.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("PYTHON") and key != "VIRTUAL_ENV"
    }
    search = f"{prefix.resolve() / 'bin'}{os.pathsep}{kept.get('PATH', os.defpath)}"
    ours = {"PATH": search, "PYTHONUNBUFFERED": "1", "PYTHONNOUSERSITE": "1"}
    return {**kept, **ours, **expand_variables(variables)}
