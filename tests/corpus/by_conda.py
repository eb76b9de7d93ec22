"""What py-rattler makes of conda packages, and in which ways envbuild may differ from it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.corpus.trees import run

__all__ = ["PREFIX", "install_with_rattler", "judge_conda", "read_records"]

PREFIX = "/opt/env"

# py-rattler can abort the process that used it when that ends, hence a child that leaves at once.
_INSTALL = """
import asyncio, json, os, sys
from pathlib import Path
import rattler

async def main(prefix, cache, target, listed):
    archives = json.loads(Path(listed).read_text())
    records = [await rattler.RepoDataRecord.from_package_archive(Path(a)) for a in archives]
    await rattler.install(
        records, target, cache_dir=cache, alternative_target_prefix=prefix,
        platform=rattler.Subdir("linux-64"), show_progress=False, installed_packages=[],
    )

asyncio.run(main(*sys.argv[1:]))
sys.stdout.flush()
os._exit(0)
"""
_READ = """
import os, sys
from pathlib import Path
import rattler

for path in sorted(Path(sys.argv[1]).glob("*.json")):
    record = rattler.PrefixRecord.from_path(path)
    print(record.name.normalized, record.version, record.build, len(record.files),
          len(record.paths_data.paths), record.sha256.hex())
sys.stdout.flush()
os._exit(0)
"""


def install_with_rattler(archives: Sequence[Path], folder: Path) -> Path:
    """Let py-rattler install the packages, made out to PREFIX, and return the folder."""
    listed = folder / "archives.json"
    listed.write_text(json.dumps([str(path) for path in archives]))
    target = folder / "theirs"
    run([sys.executable, "-c", _INSTALL, PREFIX, folder / "cache", target, listed])
    return target


def read_records(folder: Path) -> list[list[str]]:
    """Return what py-rattler reads in `conda-meta`: of each package its name, version and so on."""
    return [line.split() for line in run([sys.executable, "-c", _READ, folder]).splitlines()]


def judge_conda(path: str, mine: Path, other: Path) -> str:
    """Return in which documented way a file differs from py-rattler's, or ""."""
    if path in {"CACHEDIR.TAG", "conda-meta/history"}:
        return "conda-prefix" if not mine.exists() else ""
    if path.startswith("__clobbers__/"):
        return "conda-overruled" if not mine.exists() else ""
    if not (mine.is_file() and other.is_file()) or mine.is_symlink() != other.is_symlink():
        return ""
    if path.startswith("conda-meta/"):
        return "conda-record" if _is_same_record(mine, other) else ""
    modes = mine.stat().st_mode & 0o777, other.stat().st_mode & 0o777
    executable = 0o755 if modes[1] & 0o100 else 0o644
    ours, theirs = mine.read_bytes(), other.read_bytes()
    if modes[0] != executable:
        return ""
    if ours == theirs:
        return "conda-mode"
    is_command = re.match(rb"#!/\S+/bin/python[\d.]*\n# -\*- coding: utf-8", theirs)
    return "conda-command" if is_command and ours == theirs.replace(b"\t", b"    ") else ""


_ELSEWHERE = {"channel", "url", "extracted_package_dir", "link", "arch", "platform"}
"""What a record says of the machine and the channel."""


def _is_same_record(mine: Path, other: Path) -> bool:
    ours, theirs = json.loads(mine.read_text()), json.loads(_forget_moves(other.read_text()))
    if ours["files"] != sorted(theirs["files"]):
        return False
    if any(ours[key] != theirs[key] for key in set(theirs) - _ELSEWHERE - {"files", "paths_data"}):
        return False
    rows = {row["_path"]: row for row in ours["paths_data"]["paths"]}
    return all(_is_same_row(rows[r["_path"]], r) for r in theirs["paths_data"]["paths"])


def _forget_moves(record: str) -> str:
    """Name files that gave way to another package's as they were before py-rattler moved them."""
    return re.sub(r'(")__clobbers__/[^/"]+/', r"\1", record)


def _is_same_row(mine: dict[str, object], theirs: dict[str, object]) -> bool:
    if mine["path_type"] != theirs["path_type"]:
        return False
    theirs = {key: value for key, value in theirs.items() if key != "original_path"}
    # Of a link py-rattler has the hash of its text; of a command, one of the text before its own.
    return theirs["path_type"] != "hardlink" or mine | theirs == mine
