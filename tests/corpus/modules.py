"""Which modules a wheel brings that can be imported by name."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["list_modules"]

_MODULE = re.compile(r"(\w+)(?:\.(?:cpython-311-x86_64-linux-gnu|abi3))?\.(?:py|so)")


def list_modules(paths: Iterable[str]) -> set[str]:
    """Return the top-level modules among paths below site-packages.

    Of a folder that is no package itself, but holds some (a namespace), it is these.
    """
    known = set(paths)
    return {".".join(module) for path in known if (module := _find_module(path, known))}


def _find_module(path: str, known: set[str]) -> tuple[str, ...]:
    *folders, name = path.split("/")
    if any(not folder.isidentifier() or folder == "__pycache__" for folder in folders):
        return ()
    for depth in range(1, len(folders) + 1):
        if f"{'/'.join(folders[:depth])}/__init__.py" in known:
            return tuple(folders[:depth])
    found = _MODULE.fullmatch(name)
    if found is None or not found[1].isidentifier() or found[1] == "__init__":
        return ()
    return (*folders, found[1]) if len(folders) <= 1 else ()
