"""Runs in the image: imports each module of a list in a process of its own, and says what failed.

`python import_all.py MODULES.json` prints a JSON object: for each module that can't be imported,
the last line of what it said.
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

_SECONDS = 120


def _attempt(name):
    """Import `name` in a child; return "" or the last thing that it said."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            signal.alarm(_SECONDS)
            _import(name)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return ""
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines() or [""]
        return f"{os.waitstatus_to_exitcode(status)}: {lines[-1]}"


def _import(name):
    try:
        importlib.import_module(name)
    except BaseException:  # noqa: BLE001  # whatever it is, it is told
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def main():
    names = json.loads(pathlib.Path(sys.argv[1]).read_text())
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = dict(zip(names, pool.map(_attempt, names), strict=True))
    print(json.dumps({name: said for name, said in found.items() if said}))


main()
