"""Processor time of making layers of real wheels in one thread, beside what no program can avoid.

The floor is measured in the same round, so that a busy machine slows both: inflate every stream
once, hash the plain bytes and the blob, take the checksums, pack what is too small to be kept,
write the blob.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Final

from benchmarks.timing import say
from benchmarks.workspace import REQUIREMENTS
from envbuild.identity.recipe import Base, ImageSettings, Recipe
from envbuild.kit.canonical import digest_file
from envbuild.layers.gzip import Inflater, pack_member
from envbuild.layers.order import plan_entries
from envbuild.layers.pack import LayerPlan, plan_layers
from envbuild.layers.plan import CHUNK, FRAME, SPLICE_BYTES, Compression
from envbuild.layers.wheel import read_wheel
from envbuild.layers.write import write_layer
from envbuild.layers.zstd import pack_frame
from envbuild.lock.model import Wheel
from envbuild.lock.names import normalise_name

__all__ = ["measure"]

_STEP: Final = 256 << 10


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stream:
    data: bytes
    size: int
    crc32: int


def measure(rounds: int) -> None:
    """Print the table: the least processor time of `rounds` rounds."""
    with tempfile.TemporaryDirectory() as folder:
        wheels = _find_wheels(Path(folder))
        plans = [[a for a in plan.artifacts if isinstance(a, Wheel)] for plan in _plan(wheels)]
        files = {wheel.sha256: path for path, wheel in wheels}
        streams = [stream for path, _ in wheels for stream in _read_streams(path)]
        plain = sum(stream.size for stream in streams)
        say(f"{len(wheels)} wheels, {len(streams)} files, {plain / 1e6:.0f} MB unpacked")
        jobs: dict[str, Callable[[], object]] = {
            "layers, gzip": lambda: _make(plans, files, "gzip"),
            "floor, gzip": lambda: _floor(streams, "gzip"),
            "layers, zstd": lambda: _make(plans, files, "zstd"),
            "floor, zstd": lambda: _floor(streams, "zstd"),
        }
        best = dict.fromkeys(jobs, float("inf"))
        for number in range(rounds):
            for name, job in jobs.items():
                start = time.process_time()
                job()
                best[name] = min(best[name], time.process_time() - start)
            say(f"round {number + 1}: " + ", ".join(f"{n} {s:.2f} s" for n, s in best.items()))
    print("| compression | layers, CPU | floor, CPU | ratio | a file costs above it |")
    print("|---|---|---|---|---|")
    for name in ("gzip", "zstd"):
        ours, floor = best[f"layers, {name}"], best[f"floor, {name}"]
        each = (ours - floor) / len(streams) * 1e6
        print(f"| {name} | {ours:.2f} s | {floor:.2f} s | {ours / floor:.2f} | {each:.0f} us |")


def _find_wheels(folder: Path) -> list[tuple[Path, Wheel]]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    subprocess.run([*command, "--dest", str(folder), *REQUIREMENTS], check=True)
    found = []
    for path in sorted(folder.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        wheel = Wheel(
            name=normalise_name(name), version=version, filename=path.name,
            sha256=digest_file(path).removeprefix("sha256:"), size=path.stat().st_size,
        )  # fmt: skip
        found.append((path, wheel))
    return found


def _plan(wheels: Sequence[tuple[Path, Wheel]]) -> Sequence[LayerPlan]:
    recipe = Recipe(
        platform="linux-64", base=Base(kind="debian"), artifacts=tuple(w for _, w in wheels),
        prefix="/opt/env", python_minor="3.11", interpreter="",
        settings=ImageSettings(user="nonroot", labels={}),
    )  # fmt: skip
    return plan_layers(recipe)


def _make(plans: Sequence[list[Wheel]], files: dict[str, Path], compression: Compression) -> None:
    for wheels in plans:
        entries = [
            read_wheel(files[wheel.sha256], wheel, prefix="/opt/env", python_minor="3.11")
            for wheel in wheels
        ]
        with tempfile.TemporaryFile() as blob:
            write = partial(_write_hashed, blob, hashlib.sha256().update)
            write_layer(plan_entries(entries), write, compression=compression)


def _write_hashed(blob: IO[bytes], update: Callable[[bytes], object], data: bytes) -> None:
    """Write and hash, as the store does."""
    blob.write(data)
    update(data)


def _read_streams(path: Path) -> list[_Stream]:
    """Return every file of a wheel, as it is in there."""
    data, streams = path.read_bytes(), []
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            at = info.header_offset + 26
            begin = at + 4 + sum(int.from_bytes(data[i : i + 2], "little") for i in (at, at + 2))
            if info.file_size and info.compress_type == zipfile.ZIP_DEFLATED:
                stream = data[begin : begin + info.compress_size]
                streams.append(_Stream(data=stream, size=info.file_size, crc32=info.CRC))
    return streams


def _floor(streams: Sequence[_Stream], compression: Compression) -> None:
    plain_hash, blob_hash, small = hashlib.sha256(), hashlib.sha256(), bytearray()
    chunk = CHUNK if compression == "gzip" else FRAME
    with tempfile.TemporaryFile(buffering=_STEP) as blob:
        for stream in streams:
            inflater = Inflater(size=stream.size, crc32=stream.crc32)
            kept = compression == "gzip" and stream.size >= SPLICE_BYTES
            for plain in inflater.feed(stream.data):
                plain_hash.update(plain)
                if not kept:
                    small += plain
            data = stream.data if kept else b""
            while len(small) >= chunk:
                packed = bytes(small[:chunk])
                data += pack_member(packed) if compression == "gzip" else pack_frame(packed)
                del small[:chunk]
            blob.write(data)
            blob_hash.update(data)
