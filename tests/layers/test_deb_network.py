"""The base that is assembled from Debian's real packages runs: shell, tools, Python, TLS, users."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envbuild.kit.places import Cache
from envbuild.layers.deb import read_deb
from envbuild.layers.order import find_clashes, list_entries, plan_entries
from envbuild.layers.skeleton import read_skeleton
from envbuild.layers.write import write_layer
from envbuild.lock.debian import BASE_PACKAGES, fetch_debian
from envbuild.lock.model import DebianPackage
from envbuild.spec.platforms import find_host_platform
from envbuild.spec.settings import Settings
from tests.layers.test_skeleton import make_recipe
from tests.rig.debian_archive import resolve_real
from tests.rig.need import missing

pytestmark = pytest.mark.network

_PYTHON = """
import bz2, ctypes, curses, getpass, lzma, readline, sqlite3, ssl, sys, uuid, zoneinfo
assert len(ssl.create_default_context().get_ca_certs()) > 100
assert sqlite3.connect(":memory:").execute("select 1").fetchone() == (1,)
assert lzma.decompress(lzma.compress(b"a")) == b"a"
assert ctypes.CDLL("libc.so.6").getpid()
print(sys.prefix, getpass.getuser(), zoneinfo.ZoneInfo("Europe/Paris"))
"""


def _fetch(packages: tuple[DebianPackage, ...], cache: Cache) -> list[Path]:
    def fetch(package: DebianPackage) -> Path:
        return fetch_debian(package, suite="bookworm", settings=Settings(), cache=cache)

    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(fetch, packages))


def test_an_assembled_base_runs(tmp_path: Path, cache: Cache) -> None:
    platform = find_host_platform()
    chroot = shutil.which("chroot")
    if os.geteuid() != 0 or chroot is None:
        missing("root", "run this test as root: it enters the image by chroot")
    if platform is None or not platform.debian:
        missing("a machine that Debian images run on", "run this test on Linux, amd64 or arm64")
    packages = resolve_real([*BASE_PACKAGES, "python3.11"], platform.debian, cache)
    files = _fetch(packages, cache)
    groups = {p.name: read_deb(file, p) for file, p in zip(files, packages, strict=True)}
    groups["skeleton"] = read_skeleton(make_recipe(platform=platform.subdir))
    assert find_clashes({name: list_entries(group) for name, group in groups.items()}) == ()
    layer, root = tmp_path / "layer.tar.gz", tmp_path / "root"
    with layer.open("wb") as out:
        facts = write_layer(plan_entries(list(groups.values())), out.write, compression="gzip")
    assert facts.plain_size < 100_000_000
    root.mkdir()
    subprocess.run(["tar", "-xpzf", layer, "-C", root], check=True)

    def enter(*command: str) -> str:
        argv = [chroot, "--userspec=65532:65532", str(root), *command]
        env = {"PATH": "/opt/env/bin:/usr/bin:/bin", "HOME": "/home/nonroot", "LANG": "C.UTF-8"}
        return subprocess.run(argv, check=True, capture_output=True, text=True, env=env).stdout

    assert enter("/bin/sh", "-c", "id -un; awk 'BEGIN { print 1 + 1 }'; date +%Z").split() == [
        "nonroot",
        "2",
        "UTC",
    ]
    assert "bookworm" in enter("cat", "/etc/os-release")
    assert enter("bash", "-c", "ls / | grep -c .").strip().isdecimal()
    assert enter("python", "-c", _PYTHON).split() == ["/opt/env", "nonroot", "Europe/Paris"]
    assert enter("python3.11", "-c", "import ssl, sqlite3, lzma, ctypes") == ""
    # Every link of the image leads to something in it.
    loose = subprocess.run(
        [chroot, str(root), "/usr/bin/find", "/usr", "/etc", "/bin", "/lib", "-xtype", "l"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert [path for path in loose if "/share/doc/" not in path] == []
