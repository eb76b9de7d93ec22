"""Frames of a layer's zstd stream: packed by the one pinned encoder, each by itself.

A zstd file may be several frames in a row (RFC 8878, section 3.1). Each has a fixed amount of
plain content, and a context of its own, so a frame's bytes depend on its content alone: frames can
be made side by side and in any process.
"""

from __future__ import annotations

from envbuild.errors import ImageError
from envbuild.layers.plan import ZSTD_ENCODER, ZSTD_LEVEL

__all__ = ["check_encoder", "pack_frame"]


def check_encoder() -> None:
    """Raise `ImageError` `layer.encoder` where zstandard is built with another libzstd.

    The package's own wheels bundle the right one; a distribution's build links the system's.
    """
    import zstandard

    version = ".".join(map(str, zstandard.ZSTD_VERSION))
    found = f"libzstd-{version}/zstandard-{zstandard.__version__}"
    if found != ZSTD_ENCODER:
        raise ImageError(
            "layer.encoder",
            f"zstd layers are made by `{ZSTD_ENCODER}`, and this Python has `{found}`",
            hint="install the package's own wheel: `pip install --force-reinstall "
            f"zstandard=={ZSTD_ENCODER.rpartition('-')[2]}`",
        )


def pack_frame(plain: bytes | bytearray | memoryview) -> bytes:
    """Return a whole frame that holds `plain`, with its size and without a checksum.

    Whoever reads a layer checks its digest, so a checksum would be a second one.
    """
    import zstandard

    packed = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=False).compress(plain)
    # It lies at the start of a block as big as the worst case; kept as they are, many small frames
    # would keep the allocator from using what is free behind each.
    return bytes(bytearray(packed))
