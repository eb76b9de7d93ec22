"""Conda layers against extraction of the same packages into a prefix by py-rattler.

The channel is the tests' own: a real Python, numpy and a few more, made from this machine's files.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import Sample, pair, print_rows, say
from benchmarks.workspace import Workspace, open_workspace
from tests.rig.conda_channel import index_channel, open_channel
from tests.rig.conda_contents import write_channel

__all__ = ["measure"]

_SPEC = """\
platforms = ["linux-64"]
python = "3.11.*"
[conda]
dependencies = ["numpy", "greet"]
[image]
base = "scratch"
bytecode = false
"""

# Prints the seconds of the installation alone; py-rattler may abort a process that ends after it.
_INSTALL = """
import asyncio, os, sys, time
from pathlib import Path
import rattler

async def main(prefix, cache, *archives):
    records = [await rattler.RepoDataRecord.from_package_archive(Path(a)) for a in archives]
    start = time.perf_counter()
    await rattler.install(
        records, prefix, cache_dir=cache, alternative_target_prefix="/opt/env",
        platform=rattler.Subdir("linux-64"), show_progress=False, installed_packages=[],
    )
    print(time.perf_counter() - start)

asyncio.run(main(*sys.argv[1:]))
sys.stdout.flush()
os._exit(0)
"""


def measure(rounds: int) -> None:
    """Print the row: the seconds of either's own work, without the start of a process."""
    with tempfile.TemporaryDirectory(prefix="envbuild-channel-") as folder:
        source = Path(folder) / "source"
        say("making a channel")
        work = Path(folder) / "work"
        work.mkdir()
        write_channel(source, work)
        index_channel(source)
        with open_channel(source, Path(folder) / "channel") as channel, open_workspace() as space:
            mirrors = {key: list(urls) for key, urls in channel.mirrors.items()}
            items = ", ".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in mirrors.items())
            (space.root / "pyproject.toml").write_text(
                f"[tool.envbuild]\nmirrors = {{ {items} }}\n"
            )
            (space.root / "envs").mkdir()
            (space.root / "envs/conda.toml").write_text(_SPEC)
            space.lock("conda")
            archives = sorted(space.cache.glob("packages/*/*.conda"))
            say(f"{len(archives)} packages")
            left, right = pair(
                lambda _: _assemble(space), lambda _: _install(space, archives), rounds=rounds
            )
            print_rows("conda layers (py-rattler into a prefix)", left, right, "at most 3")


def _assemble(space: Workspace) -> Sample:
    space.forget_images()
    sample = space.nox("-s", "build-env", "--", "conda", "--json")
    text = (space.root / "nox.log").read_text()
    (built,), _ = json.JSONDecoder().raw_decode(text[text.index("[\n") :])
    return Sample(seconds=built["seconds"]["making layers"], peak_mb=sample.peak_mb)


def _install(space: Workspace, archives: list[Path]) -> Sample:
    places = [space.root / "prefix", space.root / "rattler-cache"]
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-c", _INSTALL, *map(str, places), *map(str, archives)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return Sample(seconds=float(done.stdout), peak_mb=0)
