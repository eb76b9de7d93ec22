"""The tests' channel is a real one: another tool installs what was locked, and it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from envbuild.kit.places import Cache
from envbuild.lock.conda import CondaSolution
from envbuild.lock.conda_client import mirror_environment
from tests.rig.conda_channel import CondaChannel, damage_package, open_channel
from tests.rig.conda_python import MINOR
from tests.rig.conda_server import serve_folder
from tests.rig.conda_solver import Solver

# py-rattler as a user of the lock: conda-lock.yml in, a prefix out.
_INSTALL = """
import asyncio, sys
from rattler import LockFile, install
from envbuild.lock.conda_client import leave, open_client

lock, prefix, cache = sys.argv[1:]
environment = LockFile.from_path(lock).default_environment()
(platform,) = [p for p in environment.platforms() if str(p.subdir) == "linux-64"]
records = environment.conda_repodata_records_for_platform(platform)

async def main():
    await install(records, prefix, cache_dir=cache, client=open_client(), show_progress=False)

try:
    asyncio.run(main())
except Exception as error:
    print(error)
    leave(1)
leave(0)
"""


def _install(
    solution: CondaSolution, prefix: Path, channel: CondaChannel
) -> subprocess.CompletedProcess[str]:
    lock = prefix.parent / "conda-lock.yml"
    lock.write_bytes(solution.text)
    return subprocess.run(
        [sys.executable, "-c", _INSTALL, str(lock), str(prefix), str(prefix.parent / "packages")],
        env={**os.environ, **mirror_environment(channel.mirrors)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_was_locked_installs_and_runs_from_any_folder(
    conda_channel: CondaChannel, cache: Cache, tmp_path: Path
) -> None:
    solver = Solver.on(conda_channel, tmp_path / "solver")
    solution = solver.lock("numpy", "greet", "pip", "prefix-text", "with-links", "old-format")
    ended = _install(solution, tmp_path / "prefix", conda_channel)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    code = (
        "import numpy, ssl, sqlite3, ctypes, lzma, zlib, sys; "
        "print(numpy.arange(5).sum(), sys.prefix, '%d.%d' % sys.version_info[:2])"
    )
    prefix = tmp_path / "prefix"
    said = subprocess.check_output([prefix / "bin" / "python", "-c", code], text=True, env={})
    assert said.split() == ["10", str(prefix), MINOR]
    assert _output(prefix / "bin" / "greet") == "hello 2.0\n"
    assert f"home = {prefix}\n" in _output(prefix / "bin" / "prefix-text")
    assert (prefix / "share" / "with-links" / "link.txt").read_text() == "real\n"
    moved = prefix.rename(tmp_path / "elsewhere")
    assert subprocess.check_output([moved / "bin" / "python", "-c", code], env={})
    libraries = subprocess.check_output(["ldd", moved / "bin" / "python"], text=True)
    assert str(prefix) not in libraries
    assert sys.base_prefix + "/lib" not in libraries or sys.base_prefix == "/usr"


def _output(program: Path) -> str:
    return subprocess.check_output([program], text=True, env={"PATH": os.defpath})


def test_a_package_with_other_bytes_is_refused_by_its_hash(
    conda_channel: CondaChannel, cache: Cache, tmp_path: Path
) -> None:
    with open_channel(conda_channel.folder, tmp_path / "copy" / "main") as channel:
        solution = Solver.on(channel, tmp_path / "solver").lock("mdurl")
        damage_package(channel.find("mdurl-"))
        ended = _install(solution, tmp_path / "prefix", channel)
    assert ended.returncode == 1
    assert "mdurl" in ended.stdout


@pytest.mark.parametrize(
    ("header", "status", "body"),
    [
        ({}, 200, b"0123456789"),
        ({"Range": "bytes=2-4"}, 206, b"234"),
        ({"Range": "bytes=-3"}, 206, b"789"),
        ({"Range": "bytes=8-"}, 206, b"89"),
        ({"Range": "bytes=50-"}, 200, b"0123456789"),
    ],
)
def test_the_server_serves_ranges_and_confirms_what_is_fresh(
    tmp_path: Path, header: dict[str, str], status: int, body: bytes
) -> None:
    import urllib3

    (tmp_path / "file").write_bytes(b"0123456789")
    with serve_folder(tmp_path) as server, urllib3.PoolManager() as pool:
        answer = pool.request("GET", f"{server.url}/file", headers=header)
        assert (answer.status, answer.data) == (status, body)
        tag = {"If-None-Match": answer.headers["ETag"]}
        again = pool.request("GET", f"{server.url}/file", headers=tag)
        assert (again.status, again.headers["ETag"]) == (304, answer.headers["ETag"])
        assert pool.request("GET", f"{server.url}/../conftest.py").status == 404
