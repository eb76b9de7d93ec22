"""Base images for tests: layers of files, links and whiteouts, put into a real registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from envbuild.oci.descriptor import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor
from envbuild.oci.reference import Reference
from envbuild.oci.registry import open_registry
from envbuild.oci.store import Store
from envbuild.oci.transfer import push_image
from tests.oci.images import add_index

__all__ = [
    "GLIBC", "MUSL", "HardLink", "Layer", "Link", "Program", "make_base", "make_tar", "pack",
    "push_base",
]  # fmt: skip


class Program(bytes):
    """A file's content with the x bits."""


class Link(str):
    """A symbolic link's target."""

    __slots__ = ()


class HardLink(str):
    """A hard link's target, as its path in the archive."""

    __slots__ = ()


Content = bytes | Program | Link | HardLink | None
"""None is a folder; a whiteout is an empty file by its name."""

Layer = Mapping[str, Content]

Compression = Literal["gzip", "zstd", "none"]

GLIBC: Layer = {
    "bin": Link("usr/bin"),
    "lib": Link("usr/lib"),
    "lib64": Link("usr/lib64"),
    "etc/os-release": Link("../usr/lib/os-release"),
    "usr/lib/os-release": b'NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"\n',
    "usr/bin/dash": Program(b"\x7fELF shell"),
    "usr/bin/sh": Link("dash"),
    "usr/lib64/ld-linux-x86-64.so.2": Program(b"\x7fELF loader"),
    "usr/lib/x86_64-linux-gnu/libc.so.6": Program(
        b"\x7fELF\0GNU C Library (Debian GLIBC 2.36-9+deb12u4) stable release version 2.36.\n\0"
    ),
    "var/lib/dpkg/status": b"Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n\n",
}
"""A lowest layer as Debian has it."""

MUSL: Layer = {
    "etc/os-release": b"ID=alpine\nVERSION_ID=3.19.1\n",
    "bin/busybox": Program(b"\x7fELF shell"),
    "bin/sh": Link("/bin/busybox"),
    "lib/ld-musl-x86_64.so.1": Program(b"\x7fELF loader"),
    "lib/libc.musl-x86_64.so.1": Link("ld-musl-x86_64.so.1"),
    "lib/apk/db/installed": b"P:musl\nV:1.2.4-r2\n\nP:busybox\nV:1.36\n\n",
}
"""A lowest layer as Alpine has it."""


def make_tar(layer: Layer) -> bytes:
    """Return a layer's plain tar, its members in the order given."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in layer.items():
            member = tarfile.TarInfo(name)
            member.mode = 0o755 if isinstance(content, Program) else 0o644
            if content is None:
                member.type = tarfile.DIRTYPE
            elif isinstance(content, HardLink):
                member.type, member.linkname = tarfile.LNKTYPE, str(content)
            elif isinstance(content, Link):
                member.type, member.linkname = tarfile.SYMTYPE, str(content)
            data = bytes(content) if isinstance(content, bytes) else b""
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return plain.getvalue()


def pack(plain: bytes, compression: Compression) -> bytes:
    """Return the tar as a registry has it."""
    if compression == "gzip":
        half = len(plain) // 2  # two members, as parallel compressors write them
        return gzip.compress(plain[:half], 1, mtime=0) + gzip.compress(plain[half:], 1, mtime=0)
    if compression == "zstd":
        import zstandard

        packer = zstandard.ZstdCompressor(level=1)
        half = len(plain) // 2
        return packer.compress(plain[:half]) + packer.compress(plain[half:])
    return plain


def make_base(
    store: Store,
    *layers: Layer,
    architecture: str = "amd64",
    env: Sequence[str] = (),
    compression: Compression = "gzip",
) -> Descriptor:
    """Put an image of these layers into the store; return its manifest."""
    kind = {"gzip": "+gzip", "zstd": "+zstd", "none": ""}[compression]
    blobs, diff_ids = [], []
    for layer in layers:
        plain = make_tar(layer)
        digest, size = store.add(pack(plain, compression))
        media_type = OCI_LAYER_GZIP.removesuffix("+gzip") + kind
        blobs.append(Descriptor(media_type=media_type, digest=digest, size=size))
        diff_ids.append("sha256:" + hashlib.sha256(plain).hexdigest())
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": list(env)},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    digest, size = store.add(json.dumps(config).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor(media_type=OCI_CONFIG, digest=digest, size=size).to_json(),
        "layers": [blob.to_json() for blob in blobs],
    }
    digest, size = store.add(json.dumps(manifest).encode())
    return Descriptor(media_type=OCI_MANIFEST, digest=digest, size=size)


def push_base(host: str, folder: Path, images: Mapping[str, Descriptor], *, tag: str = "1") -> str:
    """Push images of a store at `folder`, by architecture, as one index; return its reference."""
    store = Store(folder)
    index = add_index(store, dict(images))
    reference = Reference(registry=host, repository="team/base", tag=tag)
    push_image(store, index, reference, open_registry(host))
    return f"{host}/team/base:{tag}"
