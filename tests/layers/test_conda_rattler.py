"""The promise of `read_conda`, on real packages: the files that py-rattler links, bit for bit.

What differs, and is compared by meaning:
- records in `conda-meta/`: py-rattler's say where its cache is, are readable by the owner only, and
  have the hash of a symbolic link's text;
- commands: py-rattler indents with a tab, and makes them writable by the group;
- modes: ours are 0755 or 0644, py-rattler's are the archive's;
- CACHEDIR.TAG and `conda-meta/history`, which are the prefix's and no package's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from envbuild.layers.conda import read_conda
from envbuild.layers.entry import Entry
from envbuild.layers.order import plan_entries
from envbuild.layers.write import write_layer
from tests.layers.condas import OLD, Member, describe_conda, write_conda
from tests.rig.conda_channel import CondaChannel
from tests.rig.conda_python import MINOR

_PREFIX = "/opt/env"

# py-rattler can abort the process that used it when that ends, hence a child that leaves at once.
_INSTALL = """
import asyncio, os, sys
from pathlib import Path
import rattler

async def main(prefix, cache, target, *archives):
    records = [await rattler.RepoDataRecord.from_package_archive(Path(a)) for a in archives]
    await rattler.install(
        records, prefix, cache_dir=cache, alternative_target_prefix=target,
        platform=rattler.Subdir("linux-64"), show_progress=False, installed_packages=[],
    )

asyncio.run(main(*sys.argv[1:]))
sys.stdout.flush()
os._exit(0)
"""
_READ = """
import os, sys
import rattler

for path in sys.argv[1:]:
    record = rattler.PrefixRecord.from_path(path)
    print(record.name.normalized, len(record.files), record.sha256.hex())
sys.stdout.flush()
os._exit(0)
"""


def _run(code: str, *arguments: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _link(archives: Sequence[Path], folder: Path) -> Path:
    """Let py-rattler install the packages, and return the prefix."""
    _run(_INSTALL, str(folder / "theirs"), str(folder / "cache"), _PREFIX, *map(str, archives))
    return folder / "theirs"


def _unpack(archives: Sequence[Path], folder: Path) -> tuple[Path, dict[str, Entry]]:
    """Write the packages' layer, let GNU tar unpack it, and return the prefix in there."""
    groups = [
        read_conda(path, describe_conda(path), prefix=_PREFIX, python_minor=MINOR)
        for path in archives
    ]
    entries = plan_entries(groups)
    blob = folder / "layer.tar.gz"
    with blob.open("wb") as out:
        write_layer(entries, out.write, compression="gzip")
    (folder / "ours").mkdir()
    command = ["tar", "--extract", "--gzip", "--same-permissions", "--file", str(blob)]
    subprocess.run([*command, "--directory", str(folder / "ours")], check=True)
    root = _PREFIX[1:]
    return folder / "ours" / root, {e.path.removeprefix(f"{root}/"): e for e in entries}


def _walk(root: Path) -> Iterator[str]:
    for path in root.rglob("*"):
        if not path.is_dir() or path.is_symlink():
            yield path.relative_to(root).as_posix()


def _compare(archives: Sequence[Path], folder: Path) -> None:
    theirs = _link(archives, folder)
    ours, entries = _unpack(archives, folder)
    paths = set(_walk(theirs)) - {"CACHEDIR.TAG", "conda-meta/history"}
    assert set(_walk(ours)) == paths
    for path in sorted(paths):
        mine, other = ours / path, theirs / path
        assert mine.is_symlink() == other.is_symlink(), path
        if mine.is_symlink():
            assert mine.readlink() == other.readlink(), path
        elif path.startswith("conda-meta/"):
            _compare_records(json.loads(mine.read_text()), json.loads(other.read_text()))
        else:
            data = other.read_bytes()
            is_command = data.startswith(f"#!{_PREFIX}/bin/python".encode())
            assert mine.read_bytes() == (data.replace(b"\t", b"    ") if is_command else data), path
            assert bool(other.stat().st_mode & 0o100) == (entries[path].mode == 0o755), path


_ELSEWHERE = {"channel", "url", "extracted_package_dir", "link", "arch", "platform"}


def _compare_records(mine: dict[str, object], theirs: dict[str, object]) -> None:
    assert mine["files"] == sorted(theirs["files"])  # type: ignore[call-overload]
    for key in set(theirs) - _ELSEWHERE - {"files", "paths_data"}:
        assert mine[key] == theirs[key], key
    rows = [
        {row["_path"]: row for row in record["paths_data"]["paths"]}  # type: ignore[index]
        for record in (mine, theirs)
    ]
    for path, row in rows[1].items():
        assert rows[0][path]["path_type"] == row["path_type"]
        if row["path_type"] == "hardlink":
            assert rows[0][path] | row == rows[0][path], path


def test_real_packages_are_linked_as_by_rattler(
    conda_channel: CondaChannel, tmp_path: Path
) -> None:
    stems = ["python-3", "numpy-2", "pip-", "rich-", "setuptools-", "pygments-", "markdown-it-py-"]
    stems += [
        "greet-1.1",
        "egg-style-",
        "two-faced-",
        "prefix-text-",
        "old-format-",
        "overlap-one-",
    ]
    found = []
    for stem in stems:
        folders = [conda_channel.folder / "linux-64", conda_channel.folder / "noarch"]
        (archive,) = [p for folder in folders for p in folder.glob(f"{stem}*")]
        found.append(archive)
    found += [*(conda_channel.folder / "linux-64").glob("prefix-binary-*")]
    assert len(found) == 14
    _compare(found, tmp_path)


_NEW = _PREFIX.encode()
_MEMBERS = (
    Member(path="bin/tool", data=f"#!{OLD}/bin/sh -e\n{OLD}:{OLD}".encode(), prefix_mode="text"),
    Member(path="bin/exec", data=b"#!/bin/sh\n", mode=0o775),
    Member(path="lib/a.so", data=f"\0{OLD}\0{OLD}/x:{OLD}\0".encode(), prefix_mode="binary"),
    Member(path="lib/open.so", data=f"\1{OLD}/never/ends".encode(), prefix_mode="binary"),
    Member(path="lib/none.so", data=b"\0nothing\0", prefix_mode="binary"),
    Member(path="lib/link.so", link="a.so", kind=tarfile.SYMTYPE),
    Member(path="lib/away", link="/usr/share/away", kind=tarfile.SYMTYPE),
    Member(path="lib/plain.bin", data=bytes(range(256)) * 999),
    Member(path="lib/same.bin", link="lib/plain.bin", kind=tarfile.LNKTYPE),
    Member(path="share/with space/ümläut", data=b"1"),
    Member(path="share/empty", data=b""),
)


@pytest.mark.parametrize("suffix", [".conda", ".tar.bz2"])
def test_odd_packages_are_linked_as_by_rattler(tmp_path: Path, suffix: str) -> None:
    _compare([write_conda(tmp_path, _MEMBERS, suffix=suffix)], tmp_path)


def test_packages_without_paths_json_are_linked_as_by_rattler(tmp_path: Path) -> None:
    lines = [f"{OLD} {m.prefix_mode} {m.path}\n" for m in _MEMBERS if m.prefix_mode]
    info = {
        "paths.json": b"",
        "files": "".join(f"{m.path}\n" for m in _MEMBERS).encode(),
        "has_prefix": "".join(lines).encode(),
    }
    path = write_conda(tmp_path, _MEMBERS, suffix=".tar.bz2", info=info)
    _compare([path], tmp_path)


def test_rattler_reads_our_records(conda_channel: CondaChannel, tmp_path: Path) -> None:
    archives = [conda_channel.find("prefix-text-"), conda_channel.find("greet-1.1")]
    prefix, _ = _unpack(archives, tmp_path)
    records = sorted((prefix / "conda-meta").glob("*.json"))
    printed = _run(_READ, *map(str, records)).splitlines()
    hashes = {a.name.partition("-1.")[0]: describe_conda(a).sha256 for a in archives}
    assert [line.split()[0] for line in printed] == ["greet", "prefix-text"]
    for line in printed:
        name, count, sha256 = line.split()
        assert int(count) >= 2
        assert sha256 == hashes[name]
