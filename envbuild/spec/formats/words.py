"""Names and plain texts: of platforms, variables, headers, environments; words of a command."""

from __future__ import annotations

import re
from typing import Final

from envbuild.spec.formats.base import Format
from envbuild.spec.platforms import PLATFORMS

__all__ = [
    "ARCHSPEC",
    "ARGUMENT",
    "COMMAND_WORD",
    "ENVIRONMENT_NAME",
    "ENVIRONMENT_VARIABLE",
    "EXECUTABLE",
    "HEADER",
    "HEADER_VALUE",
    "LINE",
    "PLATFORM",
]

_ALIASES: Final = {
    alias: p.subdir
    for p in PLATFORMS.values()
    for alias in (
        p.oci,
        f"{p.os}-{p.architecture}",
        f"{p.os}-{p.machine.lower()}",
        f"{'macos' if p.os == 'darwin' else p.os}-{p.architecture}",
        f"{p.subdir.partition('-')[0]}-{p.machine.lower()}",
    )
}


def _explain_platform(text: str) -> str:
    from envbuild.spec.keys import find_nearest

    nearest = _ALIASES.get(text.lower()) or find_nearest(text.lower(), PLATFORMS)
    if nearest:
        return f"did you mean `{nearest}`?"
    return f"these are known: {', '.join(f'`{name}`' for name in PLATFORMS)}"


PLATFORM = Format(
    name="platform",
    expected="a platform, by conda's name for it",
    examples=tuple(PLATFORMS),
    pattern="(?:" + "|".join(PLATFORMS) + ")",
    explain=_explain_platform,
    choices=tuple(PLATFORMS),
)

ARCHSPEC = Format(
    name="microarchitecture",
    expected="the name of a microarchitecture, as archspec has it",
    examples=("x86_64_v3", "zen4", "neoverse_n1"),
    pattern=r"[a-z0-9_]+",
)


def _explain_line(text: str) -> str | None:
    return "a line break can't be in it" if re.search(r"[\r\n]", text) else None


LINE = Format(
    name="line",
    expected="one line of text",
    examples=("CPU training",),
    pattern=r"[^\u0000-\u0008\u000a-\u001f\u007f]*",
    explain=_explain_line,
)

COMMAND_WORD = Format(
    name="word of a command",
    expected="a word of the command, not empty",
    examples=("uvicorn",),
    pattern=r"[^\u0000]+",
    splits=True,
)

ARGUMENT = Format(
    name="argument",
    expected="an argument",
    examples=("--epochs", "10"),
    pattern=r"[^\u0000]*",
    splits=True,
)

EXECUTABLE = Format(
    name="executable",
    expected="a program's name or path",
    examples=("micromamba", "/opt/conda/bin/conda"),
    pattern=r"[^\u0000-\u001f]+",
)


def _explain_variable(text: str) -> str | None:
    if "=" in text:
        return "write the value on the right of `=`, in quotes"
    return None


ENVIRONMENT_VARIABLE = Format(
    name="variable's name",
    expected="letters, digits and `_`, not a digit first",
    examples=("MESSAGE", "OMP_NUM_THREADS"),
    pattern=r"[A-Za-z_][A-Za-z0-9_]*",
    explain=_explain_variable,
)

HEADER = Format(
    name="header's name",
    expected="letters, digits and `-`",
    examples=("Content-Type",),
    pattern=r"[A-Za-z0-9!#$%&'*+.^_`|~-]+",
)

HEADER_VALUE = Format(
    name="header's value",
    expected="one line of text",
    examples=("application/json",),
    pattern=r"[^\u0000-\u0008\u000a-\u001f\u007f]*",
    explain=_explain_line,
)

ENVIRONMENT_NAME = Format(
    name="environment's name",
    expected="small letters and digits, in parts joined by `-`",
    examples=("cpu-training",),
    pattern=r"[a-z0-9]+(?:-[a-z0-9]+)*",
)
