"""The commands that installing a package makes: entry points, interpreter lines, the prefix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from envbuild.errors import ImageError
from envbuild.layers.prefix import SHEBANG_LIMIT

__all__ = [
    "EntryPoint",
    "find_root",
    "parse_entry_point",
    "render_conda_script",
    "render_wheel_script",
    "rewrite_interpreter",
]

_ENTRY_POINT: Final = re.compile(
    r"(?P<name>[^\s=/][^=/]*?)\s*=\s*"
    r"(?P<module>\w+(?:\.\w+)*)\s*:\s*(?P<attribute>\w+(?:\.\w+)*)\s*(?:\[[^\]]*\])?\s*",
)

_WHEEL_SCRIPT: Final = """\
#!{interpreter}
import sys
from {module} import {imported}
if __name__ == '__main__':
    sys.argv[0] = sys.argv[0].removesuffix('.exe')
    sys.exit({attribute}())
"""

_CONDA_SCRIPT: Final = """\
#!{interpreter}
# -*- coding: utf-8 -*-
import re
import sys

from {module} import {imported}

if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])
    sys.exit({attribute}())
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class EntryPoint:
    """A command `name` that calls `attribute` of `module`."""

    name: str
    module: str
    attribute: str


def find_root(prefix: str) -> str:
    """Return an absolute `prefix` as a layer's path has it: without its leading slash.

    Raises `ImageError("layer.bad-prefix")` for a prefix that scripts can't name in their first
    line: relative, with white space or dots for folders, or too long.
    """
    clean = re.fullmatch(r"(?:/[^/\s]+)+", prefix) and not {".", ".."} & set(prefix.split("/"))
    if not clean or len(f"#!{prefix}/bin/python3.99".encode()) > SHEBANG_LIMIT:
        raise ImageError(
            "layer.bad-prefix",
            f"`{prefix}` is no place for an environment: it must be an absolute path, "
            f"without white space and shorter than {SHEBANG_LIMIT - 18} bytes",
        )
    return prefix[1:]


def parse_entry_point(text: str) -> EntryPoint | None:
    """Parse `name = module:attribute [extras]`; return None where it is no such thing.

    See the entry points specification, "Use for scripts".
    """
    match = _ENTRY_POINT.fullmatch(text.strip())
    if match is None or match["name"] in {".", ".."}:
        return None
    return EntryPoint(name=match["name"], module=match["module"], attribute=match["attribute"])


def render_wheel_script(point: EntryPoint, interpreter: str) -> bytes:
    """Return the command's script as pip writes it."""
    return _render(_WHEEL_SCRIPT, point, interpreter)


def render_conda_script(point: EntryPoint, interpreter: str) -> bytes:
    """Return the command's script as conda writes it."""
    return _render(_CONDA_SCRIPT, point, interpreter)


def _render(template: str, point: EntryPoint, interpreter: str) -> bytes:
    text = template.format(
        interpreter=interpreter,
        module=point.module,
        imported=point.attribute.split(".")[0],
        attribute=point.attribute,
    )
    return text.encode()


def rewrite_interpreter(script: bytes, interpreter: str) -> bytes:
    """Return a wheel's script with `interpreter` in place of a first line `#!python...`."""
    if not script.startswith(b"#!python"):
        return script
    _, _, rest = script.partition(b"\n")
    return b"#!" + interpreter.encode() + b"\n" + rest
