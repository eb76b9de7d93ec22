"""Finds a Python of exactly one version that runs on this machine, to compile byte code with.

Builds of one version make the same byte code: measured between Debian's for two architectures, its
debugging build and one of the unpatched source (`docs/performance.md`). The locked one comes first
all the same, for its hash says which build it is; what is installed here, nobody vouches for.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from envbuild.errors import ImageError, LockError
from envbuild.image.assemble import Fetch
from envbuild.image.locked_python import unpack_python
from envbuild.kit.files import write_atomic
from envbuild.kit.places import Cache
from envbuild.kit.progress import Progress
from envbuild.layers.compiler import Interpreter, ask_interpreter, find_fault
from envbuild.lock.model import Artifact

__all__ = ["ensure_interpreter", "find_installed"]


def ensure_interpreter(
    version: str,
    *,
    artifacts: Sequence[Artifact],
    fetch: Fetch,
    cache: Cache,
    progress: Progress,
    task: str,
) -> tuple[str, ...]:
    """Return the command line that starts CPython `version` (`3.11.2`) on this machine.

    `artifacts` are those of this machine's platform, perhaps none. If they bring that Python it is
    unpacked once into the cache; else one that is installed here does. Raises `ImageError`
    `bytecode.no-python` where neither is to be had, `LockError` where the locked one can't be
    fetched and there is no other, and what unpacking raises.
    """
    trouble: LockError | None = None
    try:
        locked = unpack_python(
            version, artifacts=artifacts, fetch=fetch, cache=cache, progress=progress, task=task
        )
    except LockError as error:
        locked, trouble = None, error
    found = locked or find_installed(version, cache)
    if found:
        return found
    if trouble is not None:
        raise trouble
    raise ImageError(
        "bytecode.no-python",
        f"byte code for Python {version} can be made only by that very version, and this machine "
        "has none",
        hint=f"to install it, run `uv python install {version}`; where conda or Debian brings "
        "Python, adding this machine's platform to `platforms` does, too; "
        "to build without byte code, set `bytecode = false` under `[image]`",
    )


def find_installed(version: str, cache: Cache) -> tuple[str, ...]:
    """Return the command line of the first installed Python of this version; () for none."""
    notes = _Notes(cache)
    seen: set[str] = set()
    for candidate in _list_candidates(version):
        real = os.path.realpath(candidate)
        if real not in seen and os.access(real, os.X_OK) and Path(real).is_file():
            seen.add(real)
            found = notes.ask(candidate, real)
            if found is not None and not find_fault(found, version):
                return (candidate,)
    return ()


def _list_candidates(version: str) -> Iterator[str]:
    """Yield where a Python of this version may be; those that say their version first."""
    minor = ".".join(version.split(".")[:2])
    yield getattr(sys, "_base_executable", None) or sys.executable
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv/python")
    for place in (*pyenv.glob(f"versions/{version}"), *sorted(uv.glob(f"cpython-{version}-*"))):
        yield str(place / f"bin/python{minor}")
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        # pyenv's are scripts that may refuse, depending on the folder that they are called in.
        if folder and not folder.rstrip("/").endswith("/shims"):
            for name in (f"python{minor}", "python3", "python"):
                found = shutil.which(name, path=folder)
                if found:
                    yield str(Path(found).absolute())


class _Notes:
    """What interpreters said of themselves, as long as their files stay as they are."""

    def __init__(self, cache: Cache) -> None:
        self._file = cache.interpreters / "known.json"
        try:
            known = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            known = None
        self._known: dict[str, object] = known if isinstance(known, dict) else {}

    def ask(self, candidate: str, real: str) -> Interpreter | None:
        """Return what `candidate` says, whose file is `real`; None where it is no Python."""
        state = Path(real).stat()
        # Which packages it finds depends on its name, and nothing else here does.
        stamp = [state.st_mtime_ns, state.st_size]
        with suppress(KeyError, TypeError, ValueError):
            then, said = cast("list[object]", self._known[real])
            if then == stamp:
                return _revive(said)
        found = ask_interpreter((candidate,))
        self._known[real] = [stamp, None if found is None else _fields(found)]
        write_atomic(self._file, json.dumps(self._known))
        return found


def _fields(found: Interpreter) -> list[str]:
    return [found.implementation, found.version, found.flags, found.magic.hex(), found.tag]


def _revive(said: object) -> Interpreter | None:
    """Return what `_fields` kept; raises TypeError or ValueError for anything else."""
    if said is None:
        return None
    if not isinstance(said, list):
        raise TypeError
    implementation, version, flags, magic, tag = map(str, said)
    return Interpreter(
        implementation=implementation,
        version=version,
        flags=flags,
        magic=bytes.fromhex(magic),
        tag=tag,
    )
