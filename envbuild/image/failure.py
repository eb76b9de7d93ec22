"""Keeps what a failed build had assembled until then, as a folder that one can look into."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

from envbuild.engine.outputs import PieceStream
from envbuild.image.assemble import plan_jobs
from envbuild.image.blobs import ensure_blobs
from envbuild.image.config import Layer
from envbuild.image.plan import ImagePlan
from envbuild.image.prove import read_plain
from envbuild.image.shelf import find_layer
from envbuild.image.site import Site
from envbuild.kit.canonical import CHUNK

__all__ = ["keep_failure"]


def keep_failure(site: Site, plan: ImagePlan, folder: Path) -> int:
    """Unpack the finished layers of the image below `folder`; return how many there were.

    Of all that the image is to be, what is not there is what the failed layers would have
    brought. Everything belongs to who runs this, so that anybody can unpack and remove it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    known = [find_layer(site, job.key, job.title) for job in plan_jobs(plan.recipe)]
    layers = [layer for layer in known if layer is not None]
    ensure_blobs(site, [layer.blob for layer in layers], task=plan.name)
    for number, layer in enumerate(layers, start=1):
        site.progress.update(plan.name, "keeping what is finished", number, len(layers))
        _unpack(site, layer, folder.resolve())
    return len(layers)


def _unpack(site: Site, layer: Layer, folder: Path) -> None:
    pieces = read_plain(site.store, layer.blob)
    with (
        io.BufferedReader(PieceStream(pieces), CHUNK) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        for member in tar:
            target = _find_target(folder, member.name)
            if target is None or (member.isdir() and target.is_dir()):
                continue
            if target.is_symlink() or target.is_file():
                target.unlink()  # never written through: a link may point out of the folder
            member.name = str(target.relative_to(folder))
            tar.extract(member, folder, set_attrs=not member.issym(), filter="tar")


def _find_target(folder: Path, name: str) -> Path | None:
    """Return where a member goes, its parents' links followed; None if that is elsewhere."""
    path = folder / name.strip("/")
    parent = path.parent.resolve()
    return parent / path.name if parent.is_relative_to(folder) else None
