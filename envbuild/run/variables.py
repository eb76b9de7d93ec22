"""The variables of a run: those of `[env]`, with what `${VAR}` stands for on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

from envbuild.errors import RunError

__all__ = ["expand_variables"]

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
