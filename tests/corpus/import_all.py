"""Runs in the image: imports the modules of a list in fresh processes, and says what failed.

`python import_all.py MODULES.json` prints a JSON object: `failed` has for each module that can't be
imported in a process of its own the last line of what it said, and `seconds` the processor's time.
"""

import concurrent.futures
import importlib
import json
import os
import pathlib
import signal
import sys
import tempfile
import traceback
from typing import NoReturn

_SECONDS = 300
_AT_A_TIME = 8
"""Modules that share a process, for most of them import the same big ones."""


def _attempt(names: list[str]) -> str:
    """Import `names` in a child; return "" or the last thing that it said."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            signal.alarm(_SECONDS)
            _import(names)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return ""
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines() or [""]
        return f"{os.waitstatus_to_exitcode(status)}: {lines[-1].strip()}"


def _import(names: list[str]) -> NoReturn:
    try:
        for name in names:
            importlib.import_module(name)
    except BaseException:  # noqa: BLE001  # whatever it is, it is told
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _import_group(names: list[str]) -> dict[str, str]:
    """Return what those of `names` said that can't be imported, each by itself."""
    if not _attempt(names):
        return {}
    return {name: said for name in names if (said := _attempt([name]))}


def main() -> None:
    names = json.loads(pathlib.Path(sys.argv[1]).read_text())
    groups = [names[i : i + _AT_A_TIME] for i in range(0, len(names), _AT_A_TIME)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = [item for group in pool.map(_import_group, groups) for item in group.items()]
    print(json.dumps({"failed": dict(found), "seconds": round(sum(os.times()[:4]))}))


main()
