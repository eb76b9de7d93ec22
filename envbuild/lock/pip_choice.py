"""Chooses the one wheel of each package that was resolved, and measures it."""

from __future__ import annotations

from dataclasses import replace

from envbuild.lock.model import Wheel
from envbuild.lock.pip_download import Batch, download_batches
from envbuild.lock.pip_failures import explain_no_wheel
from envbuild.lock.pip_job import PipJob, is_marked
from envbuild.lock.pip_sizes import find_sizes
from envbuild.lock.pip_uv import Listing
from envbuild.lock.wheel_choice import WheelFile, choose_wheel, rank_tags

__all__ = ["choose_wheels"]


def choose_wheels(job: PipJob, listing: Listing) -> list[Wheel]:
    """Return the wheel of each package that comes from an index, sorted by name.

    Raises `LockError` `lock.no-wheel`, and those of a download where no one tells a size.
    """
    ranks = rank_tags(job.platform, job.minor, job.glibc, job.macos)
    locked = {pin.name: pin.hashes for pin in job.kept}
    offered: dict[str, list[WheelFile]] = {
        name: [] for name in sorted(listing.versions) if not is_marked(listing.versions[name])
    }
    for file in listing.files:
        offered[file.name].append(file)
    chosen = []
    for name, files in offered.items():
        best = choose_wheel(files, ranks, locked=locked.get(name, ()))
        if best is None:
            raise explain_no_wheel(f"{name}=={listing.versions[name]}", job)
        chosen.append(best)
    return [_lock(file) for file in _measure(job, chosen)]


def _measure(job: PipJob, files: list[WheelFile]) -> list[WheelFile]:
    """Return `files` with their sizes; what no one tells is downloaded to be measured."""
    sized = find_sizes(files, job.indexes)
    unknown = [_lock(file) for file in sized if not file.size]
    if not unknown:
        return sized
    batch = Batch(
        wheels=tuple(unknown), folder=job.work / "sizes", indexes=job.indexes,
        python_minor=job.minor, logs=job.logs, task=job.task,
    )  # fmt: skip
    found = download_batches([batch])
    return [f if f.size else replace(f, size=found[f.sha256].stat().st_size) for f in sized]


def _lock(file: WheelFile) -> Wheel:
    return Wheel(
        name=file.name,
        version=file.version,
        filename=file.filename,
        sha256=file.sha256,
        size=file.size,
    )
