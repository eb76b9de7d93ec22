"""Read an image out of an OCI image layout: just what it takes to hand it to an engine.

Formats: OCI image-spec 1.1 (layout, manifest, config) and Docker's schema 2, which has the same
members. Only files are read; this room knows nothing of registries.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from envbuild.engine.archive import Upload
from envbuild.engine.export import ZSTD, unpack_pieces
from envbuild.errors import EngineError

__all__ = ["LayoutImage", "plan_archive", "read_layout"]

_PIECE: Final = 1 << 20
_MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
_INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True, kw_only=True, slots=True)
class LayoutImage:
    """One image of a layout: digests of manifest, config and layers, and the layers' diff IDs."""

    root: Path
    manifest: str
    media_type: str
    config: str
    layers: tuple[str, ...]
    diff_ids: tuple[str, ...]

    def blob(self, digest: str) -> Path:
        return self.root / "blobs" / digest.replace(":", "/", 1)


def read_layout(root: Path, manifest_digest: str) -> LayoutImage:
    """Return the image with this manifest digest from the layout at `root`.

    Raises `EngineError`: `engine.no-blob` (a file is missing) or `engine.bad-image` (the manifest
    or config isn't one).
    """
    manifest = _read_json(root, manifest_digest)
    try:
        config_digest = str(manifest["config"]["digest"])
        layers = tuple(str(layer["digest"]) for layer in manifest["layers"])
        media_type = str(manifest.get("mediaType") or _MANIFEST_TYPE)
        diff_ids = tuple(_read_json(root, config_digest)["rootfs"]["diff_ids"])
    except (KeyError, TypeError) as error:
        raise _bad_image(manifest_digest) from error
    if len(diff_ids) != len(layers):
        raise _bad_image(manifest_digest)
    return LayoutImage(
        root=root,
        manifest=manifest_digest,
        media_type=media_type,
        config=config_digest,
        layers=layers,
        diff_ids=diff_ids,
    )


def _read_json(root: Path, digest: str) -> dict[str, Any]:
    path = root / "blobs" / digest.replace(":", "/", 1)
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise _no_blob(path) from error
    except ValueError as error:
        raise _bad_image(digest) from error
    if not isinstance(value, dict):
        raise _bad_image(digest)
    return value


def _no_blob(path: Path) -> EngineError:
    return EngineError(
        "engine.no-blob",
        f"the image's file `{path}` is missing",
        hint="build the image again: `nox -s build-env`",
    )


def _bad_image(digest: str) -> EngineError:
    return EngineError(
        "engine.bad-image",
        f"`{digest}` is no image manifest with its config, or one of them is damaged",
        hint="delete the store in envbuild's cache and build the image again: `nox -s build-env`",
    )


def plan_archive(
    image: LayoutImage,
    name: str,
    *,
    skip: int = 0,
    unpack_zstd: bool = False,
    count: Callable[[int], None],
) -> tuple[list[Upload], int]:
    """Return the members of an archive for `docker load` in fixed order, and their size in bytes.

    The archive is an OCI layout and Docker's older `manifest.json` at once, so engines with
    either kind of store read it. The first `skip` layers are left out. With `unpack_zstd`, a
    layer of zstd is sent as its plain tar, for engines that don't know zstd: it is the tar that
    they identify a layer by. `count` is told of every piece that is sent, in bytes.
    """
    texts = {
        "oci-layout": {"imageLayoutVersion": "1.0.0"},
        "index.json": _render_index(image, name),
        "manifest.json": _render_load_manifest(image, name),
    }
    members = [_member(path, json.dumps(value).encode()) for path, value in texts.items()]
    total = 0
    for digest in dict.fromkeys((image.manifest, image.config, *image.layers[skip:])):
        path = image.blob(digest)
        try:
            size = path.stat().st_size
        except FileNotFoundError as error:
            raise _no_blob(path) from error
        if unpack_zstd and digest in image.layers and _is_zstd(path):
            size = sum(map(len, unpack_pieces(_read_pieces(path))))
            members.append(_plain_member(digest, path, size, count))
        else:
            members.append(_blob_member(digest, path, size, count))
        total += size
    return members, total


def _member(path: str, data: bytes) -> Upload:
    return Upload(path=path, size=len(data), read=lambda: iter((data,)))


def _blob_member(digest: str, path: Path, size: int, count: Callable[[int], None]) -> Upload:
    def read() -> Iterator[bytes]:
        left = size
        with path.open("rb") as file:
            while left and (piece := file.read(min(_PIECE, left))):
                left -= len(piece)
                yield piece
                count(len(piece))
        if left:
            raise EngineError("engine.no-blob", f"the image's file `{path}` shrank while in use")

    return Upload(path=_inside(digest), size=size, read=read)


def _is_zstd(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(ZSTD)) == ZSTD


def _read_pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _plain_member(digest: str, path: Path, size: int, count: Callable[[int], None]) -> Upload:
    def read() -> Iterator[bytes]:
        for piece in unpack_pieces(_read_pieces(path)):
            yield piece
            count(len(piece))

    return Upload(path=_inside(digest), size=size, read=read)


def _inside(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def _render_index(image: LayoutImage, name: str) -> dict[str, Any]:
    descriptor = {
        "mediaType": image.media_type,
        "digest": image.manifest,
        "size": image.blob(image.manifest).stat().st_size,
        "annotations": {
            "io.containerd.image.name": _full_name(name),
            "org.opencontainers.image.ref.name": name.rpartition(":")[2],
        },
    }
    return {"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": [descriptor]}


def _render_load_manifest(image: LayoutImage, name: str) -> list[dict[str, Any]]:
    layers = [_inside(digest) for digest in image.layers]
    return [{"Config": _inside(image.config), "RepoTags": [name], "Layers": layers}]


def _full_name(name: str) -> str:
    """Return the name with its registry: containerd knows no default one."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"
