"""The base assembled from Debian's real packages runs: tools, Python, TLS, libraries, apt."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from envbuild.kit.places import Cache
from envbuild.layers.deb import read_deb
from envbuild.layers.debfinish import read_finish
from envbuild.layers.order import find_clashes, list_entries, plan_entries
from envbuild.layers.skeleton import read_skeleton
from envbuild.layers.write import write_layer
from envbuild.lock.debian import BASE_PACKAGES, fetch_debian
from envbuild.lock.model import DebianPackage
from envbuild.spec.platforms import find_host_platform
from envbuild.spec.settings import Settings
from tests.layers.test_skeleton import make_recipe
from tests.rig.debian_archive import make_deb, resolve_real
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


# Real parts that lean on what only maintainer scripts make on other systems.
_TOOLS = ("gawk", "git", "graphviz", "libgomp1", "liblapack3", "openssh-client")
_LIBRARIES = """
import ctypes, ctypes.util
print(*[ctypes.util.find_library(name) for name in ("ssl", "gomp", "blas", "c")])
for name in ("libgomp.so.1", "libblas.so.3", "liblapack.so.3", "libcairo.so.2"):
    ctypes.CDLL(name)
"""


def _fetch(packages: tuple[DebianPackage, ...], cache: Cache) -> list[Path]:
    def fetch(package: DebianPackage) -> Path:
        return fetch_debian(package, suite="bookworm", settings=Settings(), cache=cache)

    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(fetch, packages))


@dataclass(frozen=True, kw_only=True)
class _Root:
    """An assembled image's tree, entered by chroot."""

    path: Path
    size: int

    def enter(self, *command: str, user: str = "65532:65532", home: str = "/home/nonroot") -> str:
        """Return what a command prints in there."""
        argv = ["chroot", f"--userspec={user}", str(self.path), *command]
        path = "/opt/env/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        env = {"PATH": path, "HOME": home, "LANG": "C.UTF-8"}
        done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def _assemble(folder: Path, cache: Cache, *names: str) -> _Root:
    """Assemble a base with `names` into a folder, layer by layer as an image has them."""
    platform = find_host_platform()
    if os.geteuid() != 0 or shutil.which("chroot") is None:
        missing("root", "run this test as root: it enters the image by chroot")
    if platform is None or not platform.debian:
        missing("a machine that Debian images run on", "run this test on Linux, amd64 or arm64")
    packages = resolve_real([*BASE_PACKAGES, "python3.11", *names], platform.debian, cache)
    files = _fetch(packages, cache)
    groups = {p.name: read_deb(file, p) for file, p in zip(files, packages, strict=True)}
    skeleton = read_skeleton(make_recipe(platform=platform.subdir))
    finish = read_finish(list(groups.values()), user="nonroot")
    traces = {name: list_entries(group) for name, group in groups.items()}
    assert find_clashes({**traces, "skeleton": list_entries(skeleton)}) == ()
    root, size = folder / "root", 0
    root.mkdir()
    for layer in ([skeleton], list(groups.values()), [finish]):
        file = folder / "layer.tar.gz"
        with file.open("wb") as out:
            size += write_layer(plan_entries(layer), out.write, compression="gzip").plain_size
        subprocess.run(["tar", "-xpzf", file, "-C", root], check=True)
    # As in every container; subprocesses of Python, and dpkg's scripts, write to it.
    os.mknod(root / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    return _Root(path=root, size=size)


def test_an_assembled_base_runs(tmp_path: Path, cache: Cache) -> None:
    root = _assemble(tmp_path, cache)
    assert root.size < 100_000_000
    words = root.enter("/bin/sh", "-c", "id -un; awk 'BEGIN { print 1 + 1 }'; date +%Z; which sh")
    assert words.split() == ["nonroot", "2", "UTC", "/usr/bin/sh"]
    assert "bookworm" in root.enter("cat", "/etc/os-release")
    assert root.enter("bash", "-c", "ls / | grep -c .").strip().isdecimal()
    assert root.enter("python", "-c", _PYTHON).split() == ["/opt/env", "nonroot", "Europe/Paris"]
    assert root.enter("python3.11", "-c", "import ssl, sqlite3, lzma, ctypes") == ""
    # Every link of the image leads to something in it.
    find = ["/usr/bin/find", "/usr", "/etc", "/bin", "/lib", "-xtype", "l"]
    loose = root.enter(*find, user="0:0").split()
    assert [path for path in loose if "/share/doc/" not in path] == []


def test_what_scripts_would_have_made_is_there(tmp_path: Path, cache: Cache) -> None:
    root = _assemble(tmp_path, cache, *_TOOLS)
    # The real ldconfig changes nothing but the name of the tool that made the file.
    ours = (root.path / "etc/ld.so.cache").read_bytes()
    root.enter("ldconfig", user="0:0")
    real = (root.path / "etc/ld.so.cache").read_bytes()
    # The last four bytes before the name are its length.
    assert ours[: ours.rindex(b"envbuild") - 4] == real[: real.rindex(b"ldconfig (") - 4]
    (root.path / "etc/ld.so.cache").write_bytes(ours)
    (root.path / "dev/null").chmod(0o666)
    found = root.enter("python", "-c", _LIBRARIES).split()
    assert found == ["libssl.so.3", "libgomp.so.1", "libblas.so.3", "libc.so.6"]
    assert "GNU Awk" in root.enter("awk", "--version")
    drawn = root.enter("sh", "-c", "echo 'digraph { a -> b }' | dot -Tpng | od -An -c -N4")
    assert drawn.split()[1:] == ["P", "N", "G"]
    (plugins,) = root.path.glob("usr/lib/*/graphviz/config6a")
    listed = plugins.read_text()
    root.enter("dot", "-c", user="0:0")
    assert plugins.read_text() == listed
    assert root.enter("git", "--version").startswith("git version")
    assert root.enter("getent", "group", "_ssh").startswith("_ssh:x:")


def test_a_whole_system_can_be_added_to(tmp_path: Path, cache: Cache) -> None:
    root = _assemble(tmp_path, cache, "apt", "gawk", "mawk")

    def enter(*command: str) -> str:
        return root.enter(*command, user="0:0", home="/root")

    assert enter("dpkg", "--audit") == ""
    assert enter("dpkg", "-S", "/bin/bash") == "bash: /bin/bash\n"
    assert "awk - auto mode" in enter("update-alternatives", "--display", "awk")
    assert "uid=65532(nonroot)" in enter("su", "nonroot", "-c", "id")
    enter("apt-get", "check")
    # A package whose script needs users, another that awaits the loader's cache.
    scripts = {"postinst": b"#!/bin/sh\nset -e\nadduser --system --group --quiet added\n",
               "triggers": b"activate-noawait ldconfig\n"}  # fmt: skip
    deb = make_deb(name="added", architecture="all", control=scripts, fields={"Depends": "apt"})
    (root.path / "tmp/added.deb").write_bytes(deb)
    enter("rm", "/etc/ld.so.cache")
    enter("dpkg", "-i", "/tmp/added.deb")
    assert (root.path / "etc/ld.so.cache").is_file()
    assert "added" in enter("id", "added")
    enter("dpkg", "-r", "added", "gawk")
    assert (root.path / "usr/bin/awk").readlink() == Path("/etc/alternatives/awk")
    assert enter("readlink", "-f", "/usr/bin/awk") == "/usr/bin/mawk\n"
