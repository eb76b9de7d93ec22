"""The tests' conda channel: made once a session, served on loopback, mirrored as conda-forge.

`conda_channel.mirrors` goes into the settings: a spec with `channels = ["conda-forge"]` is then
served from here, and its lock has conda-forge's own URLs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from envbuild.kit.files import atomic_folder, exclusive
from tests.rig.conda_contents import write_channel
from tests.rig.conda_server import FolderServer, serve_folder

__all__ = [
    "CondaChannel",
    "conda_channel",
    "damage_package",
    "index_channel",
    "open_channel",
    "rewrite_index",
]

# py-rattler can abort the process that used it when that ends, hence children that leave at once.
_INDEX = """
import asyncio, os, sys
from rattler.index import index_fs
asyncio.run(index_fs(sys.argv[1], force=True))
os._exit(0)
"""
_CANONICAL = """
import os, sys
from rattler import Channel
print(Channel(sys.argv[1]).base_url, flush=True)
os._exit(0)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaChannel:
    """A channel on loopback: `folder` holds its subdirs, `url` is where it is served."""

    folder: Path
    url: str
    canonical: str
    """Where conda-forge really is; URLs in locks begin with it (it ends with a slash)."""
    server: FolderServer

    @property
    def mirrors(self) -> Mapping[str, tuple[str, ...]]:
        """The settings that make this channel stand in for conda-forge."""
        return {self.canonical: (self.url,)}

    @property
    def subdirs(self) -> tuple[str, ...]:
        return tuple(sorted(p.name for p in self.folder.iterdir() if p.is_dir()))

    def find(self, stem: str) -> Path:
        """Return the one archive whose file name begins with `stem`."""
        (found,) = [p for p in self.folder.glob(f"*/{stem}*") if p.suffix in {".conda", ".bz2"}]
        return found


def _run(code: str, argument: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, argument], check=True, capture_output=True, text=True
    ).stdout.strip()


def index_channel(folder: Path) -> None:
    """Write the repodata of the packages that are in `folder` now."""
    _run(_INDEX, str(folder))
    shutil.rmtree(folder / ".tmp", ignore_errors=True)


def rewrite_index(channel: CondaChannel, change: Callable[[dict[str, Any]], None]) -> None:
    """Have `change` edit the entry of each package in the channel's index, a test's own copy."""
    for subdir in channel.subdirs:
        index = channel.folder / subdir / "repodata.json"
        content = json.loads(index.read_bytes())
        for packages in (content["packages"], content["packages.conda"]):
            for entry in packages.values():
                change(entry)
        index.unlink()  # it may be a hard link to the shared one
        index.write_text(json.dumps(content))
        for other in ("repodata.json.zst", "repodata_shards.msgpack.zst"):
            (index.parent / other).unlink(missing_ok=True)


def damage_package(archive: Path) -> None:
    """Change one byte in the middle of `archive`; its size and the channel's index stay."""
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.unlink()  # it may be a hard link to the shared one
    archive.write_bytes(data)


@contextlib.contextmanager
def open_channel(
    source: Path,
    target: Path,
    *,
    credentials: tuple[str, str] | None = None,
    status: int | None = None,
) -> Iterator[CondaChannel]:
    """Serve a test's own copy, made at `target`, of the channel at `source` while the block runs.

    With `credentials` (user, password) it wants them of everybody; with `status` it answers
    nothing but that error. Packages are hard links: unlink before you write.
    """
    shutil.copytree(source, target, copy_function=os.link)
    with serve_folder(target.parent, credentials=credentials, status=status) as server:
        yield _describe(target, server)


def _describe(folder: Path, server: FolderServer) -> CondaChannel:
    return CondaChannel(
        folder=folder,
        url=f"{server.url}/{folder.name}",
        canonical=_run(_CANONICAL, "conda-forge"),
        server=server,
    )


@pytest.fixture(scope="session")
def conda_channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CondaChannel]:
    """The channel that all tests share; don't write into its folder, use `open_channel`."""
    base = tmp_path_factory.getbasetemp()
    # pytest-xdist's workers have a folder each, below one that they share.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "conda-channel" / "main"
    with exclusive(shared / "conda-channel.lock"):
        if not folder.is_dir():
            with atomic_folder(folder) as channel:
                write_channel(channel, tmp_path_factory.mktemp("conda-work"))
                index_channel(channel)
    with serve_folder(folder.parent) as server:
        yield _describe(folder, server)
